//! Clients of other makes: rustls with hyper over TCP, quinn with h3 over QUIC.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::{Buf as _, Bytes};
use http::{Request, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use quinn::crypto::rustls::QuicClientConfig;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::harness::PATIENCE;

/// How to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// TLS 1.2.
    Old,
    H1,
    H2,
    H3,
}

pub(super) const WIRES: [Wire; 4] = [Wire::Old, Wire::H1, Wire::H2, Wire::H3];

/// Signs certificates of clients and backends.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

/// A certificate with its key.
pub(super) struct Identity {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: KeyPair,
    pub(super) pem: String,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    pub(super) fn issue(&self, subject: &str, names: Vec<rcgen::SanType>) -> Identity {
        self.sign(subject, names, CertificateParams::default())
    }

    /// One that is good for so long.
    pub(super) fn issue_for(&self, subject: &str, life: Duration) -> Identity {
        let mut params = CertificateParams::default();
        params.not_after = (SystemTime::now() + life).into();
        self.sign(subject, vec![], params)
    }

    fn sign(
        &self,
        subject: &str,
        names: Vec<rcgen::SanType>,
        mut params: CertificateParams,
    ) -> Identity {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject);
        params.subject_alt_names = names;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            pem: certificate.pem(),
            certificate: certificate.into(),
            key,
        }
    }
}

/// TLS of a client that trusts whoever answers: it is the server that is tested.
pub(super) fn tls(wire: Wire, identity: Option<&Identity>) -> ClientConfig {
    let versions: &[&rustls::SupportedProtocolVersion] = match wire {
        Wire::Old => &[&rustls::version::TLS12],
        _ => &[&rustls::version::TLS13],
    };
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity {
            certificate, key, ..
        }) => {
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            builder
                .with_client_auth_cert(vec![certificate.clone()], key)
                .unwrap()
        }
    };
    let protocol: &[u8] = match wire {
        Wire::Old | Wire::H1 => b"http/1.1",
        Wire::H2 => b"h2",
        Wire::H3 => b"h3",
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    config
}

/// GETs `/` of `host` on a connection of its own that asks for `name`.
pub(super) async fn get(
    wire: Wire,
    tls: &ClientConfig,
    address: SocketAddr,
    name: &str,
    host: &str,
) -> io::Result<(u16, String)> {
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let exchange = async {
        if wire == Wire::H3 {
            over_quic(tls, address, &name, host).await
        } else {
            over_tcp(wire, tls, address, name, host).await
        }
    };
    timeout(PATIENCE, exchange).await?
}

async fn over_tcp(
    wire: Wire,
    tls: &ClientConfig,
    address: SocketAddr,
    name: ServerName<'static>,
    host: &str,
) -> io::Result<(u16, String)> {
    let stream = TcpStream::connect(address).await?;
    let connector = TlsConnector::from(Arc::new(tls.clone()));
    let io = TokioIo::new(connector.connect(name, stream).await?);
    let response = if wire == Wire::H2 {
        let executor = TokioExecutor::new();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(connection);
        sender.send_request(request(Version::HTTP_2, host)).await
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(connection);
        let mut request = request(Version::HTTP_11, host);
        *request.uri_mut() = http::Uri::from_static("/");
        request.headers_mut().insert("host", host.parse().unwrap());
        sender.send_request(request).await
    };
    let response = response.map_err(io::Error::other)?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await;
    let body = body.map_err(io::Error::other)?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn request(version: Version, host: &str) -> Request<Empty<Bytes>> {
    Request::builder()
        .version(version)
        .uri(format!("https://{host}/"))
        .body(Empty::new())
        .unwrap()
}

async fn over_quic(
    tls: &ClientConfig,
    address: SocketAddr,
    name: &ServerName<'static>,
    host: &str,
) -> io::Result<(u16, String)> {
    let (endpoint, connection) = connect(tls, address, &name.to_str()).await?;
    let answer = ask(connection, host).await;
    endpoint.close(0x100_u32.into(), b"");
    endpoint.wait_idle().await;
    answer
}

/// A QUIC connection, and what it lives on.
pub(super) async fn connect(
    tls: &ClientConfig,
    address: SocketAddr,
    name: &str,
) -> io::Result<(quinn::Endpoint, quinn::Connection)> {
    let crypto = QuicClientConfig::try_from(tls.clone()).map_err(io::Error::other)?;
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap())?;
    let connecting = endpoint
        .connect_with(config, address, name)
        .map_err(io::Error::other)?;
    let connection = connecting.await?;
    Ok((endpoint, connection))
}

/// GETs `/` of `host` over HTTP/3, which nothing has spoken on the connection yet.
pub(super) async fn ask(connection: quinn::Connection, host: &str) -> io::Result<(u16, String)> {
    let (mut driver, mut sender) = h3::client::new(h3_quinn::Connection::new(connection))
        .await
        .map_err(io::Error::other)?;
    let driver = tokio::spawn(async move { driver.wait_idle().await });
    let exchange = async {
        let request = request(Version::HTTP_3, host).map(|_| ());
        let mut stream = sender.send_request(request).await?;
        stream.finish().await?;
        let status = stream.recv_response().await?.status().as_u16();
        let mut body = Vec::new();
        while let Some(mut piece) = stream.recv_data().await? {
            let length = piece.remaining();
            body.extend_from_slice(&piece.copy_to_bytes(length));
        }
        Ok::<_, h3::error::StreamError>((status, String::from_utf8_lossy(&body).into_owned()))
    };
    let answer = exchange.await.map_err(io::Error::other);
    driver.abort();
    answer
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
