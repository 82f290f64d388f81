//! Makes a connection to one endpoint, ready for requests.

use std::{
    cell::Cell, future::Future as _, io, net::SocketAddr, pin::pin, rc::Rc, sync::Arc,
    time::Duration,
};

use boring::{
    error::ErrorStack,
    ssl::{SslConnector, SslMethod, SslRef},
    x509::{X509, store::X509StoreBuilder},
};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    time::timeout,
};
use tokio_boring::SslStream;

use super::connection::{Fresh, Task, Upgradable};
use crate::{
    proxy::{local::Local, tunnel::Wired, wire::Wire},
    route::canonical_host,
    snapshot::{Backend, BackendProtocol, BackendTls, Certificate, SubjectAltName},
};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    #[error("no connection within the connect time-out")]
    Timeout,
    #[error("TLS failed: {0}")]
    Tls(String),
    #[error("the backend's certificate is not trusted: {0}")]
    Untrusted(String),
    #[error("HTTP/2 failed: {0}")]
    Protocol(#[source] hyper::Error),
}

impl DialError {
    /// For the metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Timeout => "connect_timeout",
            Self::Tls(_) => "tls",
            Self::Untrusted(_) => "tls_verify",
            Self::Protocol(_) => "protocol",
        }
    }
}

/// How to connect to one backend, with what is expensive made once.
pub(super) struct Dialer {
    pub(super) backend: Arc<Backend>,
    connector: Option<Result<SslConnector, ErrorStack>>,
}

impl Dialer {
    /// `identity` is for a backend that asks for a certificate.
    pub(super) fn new(backend: &Arc<Backend>, identity: Option<&Arc<Certificate>>) -> Self {
        let connector = backend
            .tls
            .as_ref()
            .map(|tls| connector(tls, backend.protocol, identity.map(|it| &**it)));
        Self {
            backend: backend.clone(),
            connector,
        }
    }

    /// Whether the connection may turn out to be HTTP/2, which many requests share.
    pub(super) fn may_multiplex(&self) -> bool {
        match self.backend.protocol {
            BackendProtocol::Http1 => false,
            BackendProtocol::Http2 => true,
            BackendProtocol::Auto => self.backend.tls.is_some(),
        }
    }

    /// Connects within the backend's connect time-out, TLS included.
    pub(super) async fn dial(&self, address: SocketAddr) -> Result<Fresh, DialError> {
        timeout(self.backend.connect_timeout, self.connect(address))
            .await
            .unwrap_or(Err(DialError::Timeout))
    }

    /// Connects for one request that may turn the connection into something else.
    pub(super) async fn dial_for_upgrade(
        &self,
        address: SocketAddr,
    ) -> Result<Upgradable, DialError> {
        let connecting = async {
            let wire = wire(address).await?;
            match self.tls(wire, true).await? {
                Ok(stream) => upgradable(stream).await,
                Err(wire) => upgradable(wire).await,
            }
        };
        timeout(self.backend.connect_timeout, connecting)
            .await
            .unwrap_or(Err(DialError::Timeout))
    }

    async fn connect(&self, address: SocketAddr) -> Result<Fresh, DialError> {
        let wire = wire(address).await?;
        let stream = match self.tls(wire, false).await? {
            Ok(stream) => stream,
            Err(wire) => {
                let multiplex = self.backend.protocol == BackendProtocol::Http2;
                return speak(wire, multiplex).await;
            }
        };
        let multiplex = stream.ssl().selected_alpn_protocol() == Some(b"h2");
        if !multiplex && self.backend.protocol == BackendProtocol::Http2 {
            return Err(DialError::Tls(
                "the backend did not choose h2 by ALPN".into(),
            ));
        }
        speak(stream, multiplex).await
    }

    /// TLS if the backend has it; `Ok(Err(_))` is the socket of one that has not.
    async fn tls(
        &self,
        wire: Wire,
        http1_only: bool,
    ) -> Result<Result<SslStream<Wire>, Wire>, DialError> {
        let (Some(connector), Some(tls)) = (&self.connector, &self.backend.tls) else {
            return Ok(Err(wire));
        };
        let configuration = match connector {
            Ok(connector) => connector.configure(),
            Err(error) => Err(error.clone()),
        };
        let configuration = configuration.and_then(|mut configuration| {
            configuration.set_verify_hostname(tls.subject_alt_names.is_empty());
            if http1_only {
                configuration.set_alpn_protos(HTTP1)?;
            }
            Ok(configuration)
        });
        let configuration = configuration.map_err(|error| DialError::Tls(error.to_string()))?;
        let stream = tokio_boring::connect(configuration, &tls.server_name, wire)
            .await
            .map_err(|error| refused(error.ssl(), &error))?;
        if !named(stream.ssl().peer_certificate(), &tls.subject_alt_names) {
            let reason = "it has none of the subject alternative names that are asked for";
            return Err(DialError::Untrusted(reason.into()));
        }
        Ok(Ok(stream))
    }
}

async fn wire(address: SocketAddr) -> Result<Wire, DialError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(DialError::Connect)?;
    stream.set_nodelay(true).map_err(DialError::Connect)?;
    Ok(Wire::new(stream, WRITE_TIMEOUT))
}

/// Whether it was the certificate that a handshake failed for.
fn refused(ssl: Option<&SslRef>, error: &dyn std::error::Error) -> DialError {
    match ssl.map(SslRef::verify_result) {
        Some(Err(reason)) => DialError::Untrusted(reason.to_string()),
        _ => DialError::Tls(error.to_string()),
    }
}

/// Whether the certificate has one of these names, if any is asked for.
fn named(certificate: Option<X509>, wanted: &[SubjectAltName]) -> bool {
    if wanted.is_empty() {
        return true;
    }
    let names = certificate.and_then(|certificate| certificate.subject_alt_names());
    names.iter().flatten().any(|name| {
        wanted.iter().any(|wanted| match wanted {
            SubjectAltName::Dns(dns) => name
                .dnsname()
                .is_some_and(|name| canonical_host(name) == **dns),
            SubjectAltName::Uri(uri) => name.uri() == Some(uri),
        })
    })
}

async fn speak<S>(stream: S, multiplex: bool) -> Result<Fresh, DialError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let io = TokioIo::new(stream);
    if multiplex {
        let (sender, connection) = http2::Builder::new(Local)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(LARGEST_RESPONSE_HEAD)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .handshake(io)
            .await
            .map_err(DialError::Protocol)?;
        let allowed = Rc::new(Cell::new(connection.current_max_send_streams()));
        let latest = allowed.clone();
        // It ends by itself when the last sender is gone.
        tokio::task::spawn_local(async move {
            let mut connection = pin!(connection);
            let run = std::future::poll_fn(|cx| {
                let ended = connection.as_mut().poll(cx);
                latest.set(connection.current_max_send_streams());
                ended
            });
            if let Err(error) = run.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Ok(Fresh::Http2(sender, allowed))
    } else {
        let (sender, connection) = http1::Builder::new()
            .max_header_size(LARGEST_RESPONSE_HEAD as usize)
            .handshake(io)
            .await
            .map_err(DialError::Protocol)?;
        let task = tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Ok(Fresh::Http1(sender, Task::new(&task)))
    }
}

/// HTTP/1.1 that hands the socket over when the response switches protocols.
async fn upgradable<S>(stream: S) -> Result<Upgradable, DialError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_header_size(LARGEST_RESPONSE_HEAD as usize)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(DialError::Protocol)?;
    let (hand_over, rest) = oneshot::channel();
    let task = tokio::task::spawn_local(async move {
        match connection.without_shutdown().await {
            Ok(http1::Parts { io, read_buf, .. }) => {
                let io: Box<dyn Wired> = Box::new(io.into_inner());
                if let Err((_, mut io)) = hand_over.send((read_buf, io)) {
                    let _ = io.shutdown().await;
                }
            }
            Err(error) => tracing::debug!(%error, "upstream connection ended"),
        }
    });
    Ok(Upgradable {
        sender,
        task: Task::new(&task),
        rest,
    })
}

fn connector(
    tls: &BackendTls,
    protocol: BackendProtocol,
    identity: Option<&Certificate>,
) -> Result<SslConnector, ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls())?;
    builder.set_alpn_protos(match protocol {
        BackendProtocol::Http1 => HTTP1,
        BackendProtocol::Http2 => b"\x02h2",
        BackendProtocol::Auto => b"\x02h2\x08http/1.1",
    })?;
    if !tls.ca.is_empty() {
        let mut store = X509StoreBuilder::new()?;
        for certificate in &tls.ca {
            store.add_cert(certificate)?;
        }
        builder.set_cert_store(store.build());
    }
    if let Some(Certificate { chain, key, .. }) = identity
        && let Some((leaf, intermediates)) = chain.split_first()
    {
        builder.set_certificate(leaf)?;
        for intermediate in intermediates {
            builder.add_extra_chain_cert(intermediate.clone())?;
        }
        builder.set_private_key(key)?;
    }
    Ok(builder.build())
}

const HTTP1: &[u8] = b"\x08http/1.1";
/// What an upstream may send ahead of a client that reads slowly: for one stream, and for
/// all on a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// How long an upstream may take nothing of what is sent to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Pings while streams are open find an upstream that vanished.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Over HTTP/1.1 a response may have 100 fields, too: that is hyper's own limit, and to parse
/// under another one it allocates twice for each response.
const LARGEST_RESPONSE_HEAD: u32 = 64 * 1024;
