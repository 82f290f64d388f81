//! TLS of this control plane's ports: the certificate, renewed without a restart, and
//! who is at the other end.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    version::TLS13,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use super::{
    authority::{Authority, LEAF_LIFE, TrustError},
    identity::Identity,
};
use crate::clock::unix_millis;

/// Handshakes under way at once; more wait in the kernel's queue.
const HANDSHAKES: usize = 128;
/// Longest handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that wait for the server to take them.
const ACCEPTED: usize = 16;
/// Wait after an error of accept: the process has too many files open, for one.
const BREATH: Duration = Duration::from_millis(200);
/// Names under which this machine reaches itself, as through a port-forward.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What one port offers, renewed in time.
pub(crate) struct Port {
    authority: Arc<Authority>,
    names: Vec<String>,
    alpn: Vec<Vec<u8>>,
    /// Whether certificates of dataplanes are asked for. None is required by TLS:
    /// enrolment has none yet, and everything else looks at [`Peer`].
    dataplanes: bool,
    current: watch::Sender<Arc<ServerConfig>>,
}

impl Port {
    /// For dataplanes: gRPC, and their certificates.
    pub(crate) fn sessions(
        authority: Arc<Authority>,
        names: &[String],
    ) -> Result<Self, TrustError> {
        Self::new(authority, names, vec![b"h2".to_vec()], true)
    }

    /// For operators, who show a token.
    pub(crate) fn admin(authority: Arc<Authority>, names: &[String]) -> Result<Self, TrustError> {
        let alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self::new(authority, names, alpn, false)
    }

    fn new(
        authority: Arc<Authority>,
        names: &[String],
        alpn: Vec<Vec<u8>>,
        dataplanes: bool,
    ) -> Result<Self, TrustError> {
        let mut names = names.to_vec();
        names.extend(LOCAL.map(str::to_owned));
        let first = config(&authority, &names, &alpn, dataplanes)?;
        Ok(Self {
            authority,
            names,
            alpn,
            dataplanes,
            current: watch::Sender::new(Arc::new(first)),
        })
    }

    /// Renews the certificate at half of its life, and when the roots change, for ever.
    pub(crate) async fn keep(&self) -> anyhow::Error {
        let mut roots = self.authority.bundle();
        loop {
            tokio::select! {
                () = sleep(LEAF_LIFE / 2) => {}
                changed = roots.changed() => if changed.is_err() {
                    return anyhow::anyhow!("the certificate authority is gone");
                },
            }
            while let Err(error) = self.renew() {
                warn!(%error, "no new server certificate; the old one serves on");
                sleep(Duration::from_secs(60)).await;
            }
        }
    }

    fn renew(&self) -> Result<(), TrustError> {
        let config = config(&self.authority, &self.names, &self.alpn, self.dataplanes)?;
        self.current.send_replace(Arc::new(config));
        Ok(())
    }

    /// Takes connections from `listener`, shakes hands with many at once, and hands them
    /// over in the order in which they are done.
    pub(crate) fn accept(&self, listener: TcpListener) -> io::Result<TlsListener> {
        let address = listener.local_addr()?;
        let (sender, accepted) = mpsc::channel(ACCEPTED);
        tokio::spawn(accept(listener, self.current.subscribe(), sender));
        Ok(TlsListener { address, accepted })
    }
}

fn config(
    authority: &Authority,
    names: &[String],
    alpn: &[Vec<u8>],
    dataplanes: bool,
) -> Result<ServerConfig, TrustError> {
    let (issued, key) = authority.issue_server(names, unix_millis())?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])?;
    let builder = if dataplanes {
        builder.with_client_cert_verifier(verifier(authority, provider)?)
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(vec![issued.certificate], key)?;
    config.alpn_protocols = alpn.to_vec();
    // A resumed session would outlive the certificate that it began with.
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn verifier(
    authority: &Authority,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TrustError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authority.trusted());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|error| TrustError::Tls(rustls::Error::General(error.to_string())))
}

async fn accept(
    listener: TcpListener,
    configs: watch::Receiver<Arc<ServerConfig>>,
    sender: mpsc::Sender<(PeerStream, SocketAddr)>,
) {
    let slots = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let (stream, address) = tokio::select! {
            // The server has ended: the port is free again.
            () = sender.closed() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    debug!(%error, "cannot accept a connection");
                    sleep(BREATH).await;
                    continue;
                }
            },
        };
        let acceptor = TlsAcceptor::from(Arc::clone(&configs.borrow()));
        let sender = sender.clone();
        tokio::spawn(async move {
            // A failure is the caller's; `accept` goes on with others.
            let _ = stream.set_nodelay(true);
            match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    drop(slot);
                    let _ = sender.send((PeerStream::new(stream), address)).await;
                }
                Ok(Err(error)) => debug!(%address, %error, "TLS handshake failed"),
                Err(_) => debug!(%address, "TLS handshake timed out"),
            }
        });
    }
}

/// Connections after their handshake.
pub(crate) struct TlsListener {
    address: SocketAddr,
    accepted: mpsc::Receiver<(PeerStream, SocketAddr)>,
}

impl TlsListener {
    /// As a gRPC server takes them.
    pub(crate) fn incoming(self) -> impl futures_util::Stream<Item = io::Result<PeerStream>> {
        futures_util::stream::unfold(self.accepted, async |mut accepted| {
            let (stream, _) = accepted.recv().await?;
            Some((Ok(stream), accepted))
        })
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = PeerStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (PeerStream, SocketAddr) {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // The task that accepts ends only with this.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Who is at the other end of a connection, by certificate.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Nothing: it showed no certificate, or none of a dataplane.
    pub(crate) identity: Option<Arc<Identity>>,
    /// UNIX milliseconds at which its certificate ends.
    pub(crate) expires_at_ms: i64,
}

/// A connection that knows its peer.
pub(crate) struct PeerStream {
    stream: TlsStream<TcpStream>,
    peer: Peer,
}

impl PeerStream {
    fn new(stream: TlsStream<TcpStream>) -> Self {
        let certificates = stream.get_ref().1.peer_certificates();
        let peer = certificates
            .and_then(<[_]>::first)
            .and_then(|certificate| read(certificate))
            .unwrap_or(Peer {
                identity: None,
                expires_at_ms: 0,
            });
        Self { stream, peer }
    }
}

/// Of a certificate that the handshake has verified.
fn read(der: &[u8]) -> Option<Peer> {
    let certificate = boring::x509::X509::from_der(der).ok()?;
    let names = certificate.subject_alt_names()?;
    let identity = names
        .iter()
        .find_map(|name| Identity::from_uri(name.uri()?));
    let epoch = boring::asn1::Asn1Time::from_unix(0).ok()?;
    let life = epoch.diff(certificate.not_after()).ok()?;
    let seconds = i64::from(life.days) * 24 * 60 * 60 + i64::from(life.secs);
    Some(Peer {
        identity: identity.map(Arc::new),
        expires_at_ms: seconds * 1000,
    })
}

impl Connected for PeerStream {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
