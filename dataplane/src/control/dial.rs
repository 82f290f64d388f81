//! A connection to one replica: in the clear, or over TLS with this data plane's
//! certificate.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::trust::{Trust, TrustError};

/// Longest wait for a connection, and for its handshake.
const CONNECT: Duration = Duration::from_secs(2);
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A replica that vanished without a word is noticed after both: another one is to be
/// followed soon.
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// One replica of the control plane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    /// The name that its certificate has; `None`: in the clear.
    pub(crate) name: Option<Arc<str>>,
}

/// Dials replicas. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Dialer(Option<Arc<Trust>>);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("no address: {0}")]
    Address(#[from] io::Error),
    // Its own text is only that it failed.
    #[error("no connection: {}", cause(.0))]
    Connect(#[from] tonic::transport::Error),
}

impl Dialer {
    pub(crate) fn new(trust: Option<Arc<Trust>>) -> Self {
        Self(trust)
    }

    /// As who this data plane is. Waits until it has a certificate.
    pub(crate) async fn dial(&self, replica: &Replica) -> Result<Channel, DialError> {
        let connector = match (&self.0, &replica.name) {
            (Some(trust), Some(_)) => Some(trust.certified().await?),
            _ => None,
        };
        connect(replica, connector).await
    }

    /// As nobody, to become someone.
    pub(super) async fn dial_anonymously(
        trust: &Trust,
        replica: &Replica,
    ) -> Result<Channel, DialError> {
        connect(replica, Some(trust.anonymous()?)).await
    }
}

async fn connect(
    replica: &Replica,
    connector: Option<boring::ssl::SslConnector>,
) -> Result<Channel, DialError> {
    let scheme = if connector.is_some() { "https" } else { "http" };
    let origin: Uri = format!("{scheme}://{}", replica.address)
        .parse()
        .map_err(io::Error::other)?;
    // TLS is the connector's, whatever tonic could do itself.
    let endpoint = Endpoint::from_shared(format!("http://{}", replica.address))?
        .origin(origin)
        .connect_timeout(CONNECT + HANDSHAKE)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let (address, name) = (replica.address, replica.name.clone());
    // It is called once for a connection.
    let dial = service_fn(move |_: Uri| {
        let (connector, name) = (connector.clone(), name.clone());
        async move {
            let stream = timeout(CONNECT, TcpStream::connect(address)).await??;
            stream.set_nodelay(true)?;
            let (Some(connector), Some(name)) = (connector, name) else {
                return Ok(TokioIo::new(Stream::Clear(stream)));
            };
            let setup = connector.configure().map_err(io::Error::other)?;
            let handshake = timeout(HANDSHAKE, tokio_boring::connect(setup, &name, stream));
            let stream = handshake
                .await?
                .map_err(|error| io::Error::other(format!("TLS with {name}: {error}")))?;
            Ok::<_, io::Error>(TokioIo::new(Stream::Tls(stream)))
        }
    });
    Ok(endpoint.connect_with_connector(dial).await?)
}

fn cause(error: &tonic::transport::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// Either kind of connection.
enum Stream {
    Clear(TcpStream),
    Tls(tokio_boring::SslStream<TcpStream>),
}

mod stream {
    use std::{
        io,
        pin::Pin,
        task::{Context, Poll},
    };

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::Stream;

    impl AsyncRead for Stream {
        fn poll_read(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Clear(stream) => Pin::new(stream).poll_read(context, buffer),
                Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            }
        }
    }

    impl AsyncWrite for Stream {
        fn poll_write(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            match self.get_mut() {
                Self::Clear(stream) => Pin::new(stream).poll_write(context, bytes),
                Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            }
        }

        fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Clear(stream) => Pin::new(stream).poll_flush(context),
                Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            }
        }

        fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Clear(stream) => Pin::new(stream).poll_shutdown(context),
                Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            }
        }
    }
}
