//! quinn with h3.

use std::{net::UdpSocket, path::Path, sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use quinn::{Endpoint, VarInt, crypto::rustls::QuicClientConfig};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, pem::PemObject},
};
use tidegate_tests::{H3, Payload, Target};
use tokio::time::timeout;

use crate::task::{File, Report, Task, Visit, Visited};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// For the packet that says that the connection is closed.
const GOODBYE: Duration = Duration::from_secs(1);
const IDLE_TIMEOUT_MS: u32 = 180_000;

pub(crate) async fn run(task: &Task) -> Report {
    let shared = tls(&task.authority, task.chacha20);
    let mut report = Report { visits: Vec::new() };
    for one in &task.visits {
        let tls = match task.fresh {
            true => tls(&task.authority, task.chacha20),
            false => shared.clone(),
        };
        let target = Target {
            address: task.address,
            server_name: task.server_name.clone(),
            tls: Some(tls),
        };
        let mut visited = Visited::default();
        if let Err(error) = visit(&target, one, &mut visited).await {
            visited.error = Some(error.to_string());
        }
        report.visits.push(visited);
    }
    report
}

fn tls(authority: &Path, chacha20: bool) -> Arc<ClientConfig> {
    let mut provider = ring::default_provider();
    if chacha20 {
        provider.cipher_suites = vec![ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    }
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(authority).expect("the authority is PEM");
    roots.add(certificate).expect("it is a trust anchor");
    let mut config = ClientConfig::builder_with_provider(Arc::<CryptoProvider>::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("there are suites of TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    config.enable_early_data = true;
    Arc::new(config)
}

async fn visit(target: &Target, visit: &Visit, visited: &mut Visited) -> Result<(), Error> {
    let mut transport = quinn::TransportConfig::default();
    transport.max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT_MS).into()));
    let tls = target.tls.clone().expect("it was set");
    // Packets before the handshake are AES's, whatever the handshake chooses (RFC 9001 5.2).
    let initial = ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13();
    let initial = initial
        .and_then(|suite| suite.quic_suite())
        .ok_or("no initial suite")?;
    let crypto = QuicClientConfig::with_initial(tls, initial)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    let any = if target.address.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    let socket = UdpSocket::bind(any)?;
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint = Endpoint::new(quinn::EndpointConfig::default(), None, socket, runtime)?;
    let connecting = endpoint.connect_with(config, target.address, &target.server_name)?;
    let (connection, accepted) = if visit.early_data {
        let (connection, accepted) = connecting.into_0rtt().map_err(|_| "no ticket for 0-RTT")?;
        (connection, Some(accepted))
    } else {
        (connecting.await?, None)
    };
    let client = H3::over(endpoint.clone(), connection, target).await?;
    let at_once = if visit.key_update {
        1
    } else {
        visit.paths.len()
    };
    let mut files = stream::iter(&visit.paths)
        .map(|path| fetch(&client, path))
        .buffered(at_once.max(1));
    while let Some(file) = files.try_next().await? {
        visited.files.push(file);
        // quinn does not tell what comes of it.
        if visit.key_update && visited.files.len() == 1 {
            client.connection.force_key_update();
        }
    }
    drop(files);
    if let Some(accepted) = accepted {
        visited.early_data = Some(accepted.await);
    }
    drop(client);
    let _ = timeout(GOODBYE, endpoint.wait_idle()).await;
    Ok(())
}

async fn fetch(client: &H3, path: &str) -> Result<File, Error> {
    let request = client.request("GET", path);
    let (head, body, _) = client.exchange(request, Payload::of(0).stream()).await?;
    Ok(File {
        path: path.to_owned(),
        status: head.status().as_u16(),
        length: body.length,
        sha256: body.sha256,
    })
}
