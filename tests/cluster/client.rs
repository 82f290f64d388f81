//! Clients of the cluster's gateways.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tidegate_tests::{Answer, Authority, H3, Target, Tcp, Wire};

use crate::tools::get;

/// Where a listener is, and whom to trust there.
pub(crate) fn target(address: IpAddr, port: u16, name: &str, authority: &Authority) -> Target {
    Target {
        address: SocketAddr::new(address, port),
        server_name: name.to_owned(),
        tls: Some(authority.client(&["h3"])),
    }
}

/// The first Gateway of the chart, trusted by the certificate that the chart made for it.
pub(crate) fn trusting_secret(namespace: &str, address: IpAddr, port: u16) -> Target {
    let gateway = get(&["--namespace", namespace, "gateway", "tidegate"]);
    let listeners = gateway["spec"]["listeners"].as_array().expect("listeners");
    let secret = listeners
        .iter()
        .find_map(|listener| listener["tls"]["certificateRefs"][0]["name"].as_str())
        .expect("a listener with a certificate");
    let secret = get(&["--namespace", namespace, "secret", secret]);
    let data = secret["data"]["ca.crt"]
        .as_str()
        .or(secret["data"]["tls.crt"].as_str());
    let pem = decode(data.expect("a certificate"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots
            .add(certificate.expect("it is PEM"))
            .expect("it is an anchor");
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    Target {
        address: SocketAddr::new(address, port),
        server_name: "localhost".to_owned(),
        tls: Some(Arc::new(config)),
    }
}

fn decode(base64: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD
        .decode(base64)
        .expect("a Secret is base64")
}

/// One request on a connection of its own over HTTP/3. `None`: no connection, or it broke.
pub(crate) async fn fetch(target: &Target, path: &str) -> Option<Answer> {
    let connection = H3::try_connect(target).await.ok()?;
    let request = connection.request("GET", path);
    connection.send(request, bytes::Bytes::new()).await.ok()
}

/// One request on a connection of its own over TCP. `None`: no connection.
pub(crate) async fn fetch_tcp(target: &Target, wire: Wire, path: &str) -> Option<Answer> {
    let mut connection = Tcp::try_connect(target, wire).await.ok()?;
    Some(connection.get(path).await)
}
