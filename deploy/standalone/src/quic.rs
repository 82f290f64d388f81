//! One HTTP/3 connection, by quinn and h3: a client from another stack than the gateway.
//!
//! `get` sends its requests over it. It does not retry or follow redirects.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bytes::{Buf, Bytes};
use h3::{client, error::StreamError};
use h3_quinn::{OpenStreams, RecvStream};
use http::{HeaderMap, Request, Response};
use quinn::{
    ClientConfig, ConnectionError, Endpoint, TransportConfig, crypto::rustls::QuicClientConfig,
};
use tokio::{task::JoinHandle, time::timeout};

use crate::origin::Origin;

/// Longest wait for an address to complete the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Less than any sensible idle timeout, so that a paused client keeps its connection.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

pub struct Connection {
    endpoint: Endpoint,
    quic: quinn::Connection,
    requests: client::SendRequest<OpenStreams, Bytes>,
    driver: JoinHandle<h3::error::ConnectionError>,
    pub peer: SocketAddr,
    /// From the first Initial until requests can be sent.
    pub elapsed: Duration,
}

/// A response's body as it comes.
pub struct Body {
    stream: client::RequestStream<RecvStream, Bytes>,
    sending: JoinHandle<Result<(), StreamError>>,
}

impl Drop for Body {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

impl Connection {
    /// Connects to the first of `addresses` that answers.
    ///
    /// # Errors
    /// No address answers, or TLS fails.
    pub async fn open(
        origin: &Origin,
        addresses: &[SocketAddr],
        tls: rustls::ClientConfig,
    ) -> anyhow::Result<Self> {
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        let mut transport = TransportConfig::default();
        transport.keep_alive_interval(Some(KEEP_ALIVE));
        config.transport_config(Arc::new(transport));
        let mut failed = None;
        for &peer in addresses {
            match Self::open_one(origin, peer, config.clone()).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) => Err(error),
            None => bail!("no address to connect to"),
        }
    }

    async fn open_one(
        origin: &Origin,
        peer: SocketAddr,
        config: ClientConfig,
    ) -> anyhow::Result<Self> {
        let began = Instant::now();
        let local = match peer {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let endpoint = Endpoint::client(local).context("open a UDP socket")?;
        let connecting = endpoint.connect_with(config, peer, &origin.host)?;
        let quic = timeout(CONNECT_TIMEOUT, connecting)
            .await
            .with_context(|| format!("no answer over QUIC from {peer}"))?
            .with_context(|| format!("QUIC handshake with {peer}"))?;
        let (mut connection, requests) = client::builder()
            .build(h3_quinn::Connection::new(quic.clone()))
            .await
            .context("open HTTP/3")?;
        let driver = tokio::spawn(async move { connection.wait_idle().await });
        let elapsed = began.elapsed();
        Ok(Self {
            endpoint,
            quic,
            requests,
            driver,
            peer,
            elapsed,
        })
    }

    /// Sends a request whose URI is absolute.
    ///
    /// # Errors
    /// The connection or the stream ended, or the peer broke the protocol.
    pub async fn send(&mut self, request: Request<Bytes>) -> anyhow::Result<(Response<()>, Body)> {
        let (head, content) = request.into_parts();
        let head = Request::from_parts(head, ());
        let stream = self.requests.send_request(head).await;
        let (mut up, down) = stream.map_err(|e| self.explain(e))?.split();
        // At the same time as the answer is read: a server may send it back as it comes, or
        // answer and read no more.
        let sending = tokio::spawn(async move {
            if !content.is_empty() {
                up.send_data(content).await?;
            }
            up.finish().await
        });
        let mut body = Body {
            stream: down,
            sending,
        };
        let response = body.stream.recv_response().await;
        let response = response.map_err(|e| self.explain(e))?;
        Ok((response, body))
    }

    /// The connection's own end says more than the stream's, if it came to that.
    #[must_use]
    pub fn explain(&self, error: StreamError) -> anyhow::Error {
        match self.quic.close_reason() {
            Some(reason) => anyhow::anyhow!(describe(&reason)),
            None => anyhow::Error::new(error),
        }
    }

    /// Waits until the connection ends, and says how.
    pub async fn closed(&self) -> String {
        describe(&self.quic.closed().await)
    }

    /// Smoothed round trip.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.quic.rtt()
    }

    /// Closes with H3_NO_ERROR and waits until the peer could know.
    pub async fn finish(self) {
        drop(self.requests);
        // Dropping the last request handle makes the driver close the connection.
        let _ = timeout(CONNECT_TIMEOUT, self.driver).await;
        let _ = timeout(CONNECT_TIMEOUT, self.endpoint.wait_idle()).await;
    }
}

impl Body {
    /// The next piece, or `None` at the end.
    ///
    /// # Errors
    /// The stream was reset, or the connection ended.
    pub async fn data(&mut self) -> Result<Option<Bytes>, StreamError> {
        let piece = self.stream.recv_data().await?;
        Ok(piece.map(|mut piece| piece.copy_to_bytes(piece.remaining())))
    }

    /// Trailers, after the end of the data.
    ///
    /// # Errors
    /// The stream was reset, or the connection ended.
    pub async fn trailers(&mut self) -> Result<Option<HeaderMap>, StreamError> {
        self.stream.recv_trailers().await
    }
}

fn describe(reason: &ConnectionError) -> String {
    let quoted = |reason: &[u8]| {
        if reason.is_empty() {
            String::new()
        } else {
            format!(": {}", String::from_utf8_lossy(reason))
        }
    };
    match reason {
        ConnectionError::ApplicationClosed(close) => format!(
            "closed by the peer with application code {:#x}{}",
            close.error_code.into_inner(),
            quoted(&close.reason)
        ),
        ConnectionError::ConnectionClosed(close) => format!(
            "closed by the peer with transport code {:#x}{}",
            u64::from(close.error_code),
            quoted(&close.reason)
        ),
        other => format!("closed: {other}"),
    }
}
