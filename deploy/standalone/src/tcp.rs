//! One HTTP/1.1 or HTTP/2 connection over TCP, with or without TLS.
//!
//! `get` and the client of the admin API send their requests over it. It does not pool,
//! retry or follow redirects.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::origin::Origin;

/// Longest wait for an address to accept, the TLS handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Connection {
    sender: Sender,
    driver: JoinHandle<hyper::Result<()>>,
    pub peer: SocketAddr,
    /// `TLSv1_3, TLS13_AES_256_GCM_SHA384`, or `cleartext`.
    pub security: String,
    /// From the first SYN until requests can be sent.
    pub elapsed: Duration,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Connects to the first of `addresses` that accepts. With `tls`, ALPN decides between
    /// HTTP/2 and HTTP/1.1; without, `http2` does.
    ///
    /// # Errors
    /// No address accepts (then the cause is an [`std::io::Error`]), or TLS fails.
    pub async fn open(
        origin: &Origin,
        addresses: &[SocketAddr],
        tls: Option<ClientConfig>,
        http2: bool,
    ) -> anyhow::Result<Self> {
        let began = Instant::now();
        let (stream, peer) = dial(addresses).await?;
        stream.set_nodelay(true)?;
        let (sender, driver, security) = match tls {
            Some(config) => {
                let name = ServerName::try_from(origin.host.clone())
                    .with_context(|| format!("{} is no name for TLS", origin.host))?;
                let connector = TlsConnector::from(Arc::new(config));
                let stream = timeout(CONNECT_TIMEOUT, connector.connect(name, stream))
                    .await
                    .context("TLS handshake timed out")?
                    .with_context(|| format!("TLS handshake with {peer}"))?;
                let (_, session) = stream.get_ref();
                let security = describe(
                    session.protocol_version(),
                    session.negotiated_cipher_suite(),
                );
                let http2 = session.alpn_protocol() == Some(b"h2");
                let (sender, driver) = handshake(stream, http2).await?;
                (sender, driver, security)
            }
            None => {
                let (sender, driver) = handshake(stream, http2).await?;
                (sender, driver, "cleartext".to_owned())
            }
        };
        Ok(Self {
            sender,
            driver,
            peer,
            security,
            elapsed: began.elapsed(),
        })
    }

    /// Sends a request whose URI is absolute.
    ///
    /// # Errors
    /// The connection ended, or the peer broke the protocol.
    pub async fn send(&mut self, mut request: Request<Bytes>) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                to_origin_form(&mut request);
                sender.ready().await?;
                sender.send_request(request.map(Full::new)).await
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request.map(Full::new)).await
            }
        }
    }

    /// Waits until the peer ends the connection, and says how.
    pub async fn closed(&mut self) -> String {
        match (&mut self.driver).await {
            Ok(Ok(())) => "closed by the peer".into(),
            Ok(Err(error)) => format!("closed: {error}"),
            Err(error) => format!("closed: {error}"),
        }
    }

    #[must_use]
    pub fn protocol(&self) -> &'static str {
        match self.sender {
            Sender::Http1(_) => "HTTP/1.1",
            Sender::Http2(_) => "HTTP/2",
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn dial(addresses: &[SocketAddr]) -> anyhow::Result<(TcpStream, SocketAddr)> {
    let mut refused = None;
    for &address in addresses {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, address)),
            Ok(Err(error)) => refused = Some((address, error)),
            Err(_) => refused = Some((address, std::io::ErrorKind::TimedOut.into())),
        }
    }
    match refused {
        Some((address, error)) => Err(error).with_context(|| format!("connect to {address}")),
        None => bail!("no address to connect to"),
    }
}

async fn handshake<S>(
    stream: S,
    http2: bool,
) -> hyper::Result<(Sender, JoinHandle<hyper::Result<()>>)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    if http2 {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        Ok((Sender::Http2(sender), tokio::spawn(connection)))
    } else {
        let (sender, connection) = http1::handshake(io).await?;
        Ok((Sender::Http1(sender), tokio::spawn(connection)))
    }
}

/// RFC 9112 3.2.1: the target is path and query, the authority goes into Host.
fn to_origin_form(request: &mut Request<Bytes>) {
    let uri = request.uri();
    if !request.headers().contains_key(header::HOST)
        && let Some(authority) = uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    if let Ok(target) = target.parse::<Uri>() {
        *request.uri_mut() = target;
    }
}

/// TLS version and cipher as rustls names them.
#[must_use]
pub fn describe(
    version: Option<rustls::ProtocolVersion>,
    suite: Option<rustls::SupportedCipherSuite>,
) -> String {
    let version = version.map_or_else(|| "TLS".into(), |v| format!("{v:?}"));
    let suite = suite.map_or_else(|| "unknown cipher".into(), |s| format!("{:?}", s.suite()));
    format!("{version}, {suite}")
}
