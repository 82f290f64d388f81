//! HTTP/3 by quinn and h3.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt, future::poll_fn};
use h3::{
    client::{RequestStream, SendRequest},
    error::{Code, StreamError},
};
use h3_quinn::{BidiStream, OpenStreams};
use http::{HeaderMap, Request, Response, Version};
use quinn::{Endpoint, crypto::rustls::QuicClientConfig};
use sha2::{Digest, Sha256};
use tokio::{sync::Notify, task::JoinHandle};

use super::{Answer, Target, add_headers};
use crate::payload::hex;

/// One HTTP/3 connection; dropped, it is closed.
pub struct H3 {
    pub endpoint: Endpoint,
    pub connection: quinn::Connection,
    sender: SendRequest<OpenStreams, Bytes>,
    pub(super) target: Target,
    driver: JoinHandle<()>,
    leaving: Arc<Notify>,
}

/// A body that was hashed rather than kept.
#[derive(Debug, PartialEq, Eq)]
pub struct Download {
    pub length: u64,
    pub sha256: String,
}

impl H3 {
    #[track_caller]
    pub fn connect(target: &Target) -> impl Future<Output = Self> + use<> {
        let caller = std::panic::Location::caller();
        let target = target.clone();
        async move {
            match Self::try_connect(&target).await {
                Ok(client) => client,
                Err(error) => panic!(
                    "{caller}: no HTTP/3 connection to {}: {error}",
                    target.address
                ),
            }
        }
    }

    pub async fn try_connect(target: &Target) -> Result<Self, quinn::ConnectionError> {
        let mut transport = quinn::TransportConfig::default();
        transport.max_idle_timeout(Some(quinn::VarInt::from_u32(60_000).into()));
        Self::connect_with(target, transport).await
    }

    /// One that says something each `interval`, as browsers do: who only listens cannot show a
    /// new address.
    pub async fn connect_alive(target: &Target, interval: Duration) -> Self {
        let mut transport = quinn::TransportConfig::default();
        transport.keep_alive_interval(Some(interval));
        let connected = Self::connect_with(target, transport).await;
        connected.expect("the gateway answers")
    }

    /// With transport settings, such as flow-control windows, of the test's choice.
    pub async fn connect_with(
        target: &Target,
        transport: quinn::TransportConfig,
    ) -> Result<Self, quinn::ConnectionError> {
        // From a loopback address nothing else can be reached.
        let from = if target.address.ip().is_loopback() {
            Ipv4Addr::LOCALHOST
        } else {
            Ipv4Addr::UNSPECIFIED
        };
        Self::connect_from(from.into(), target, transport).await
    }

    /// The same from an address of the test's choice.
    pub async fn connect_from(
        from: IpAddr,
        target: &Target,
        transport: quinn::TransportConfig,
    ) -> Result<Self, quinn::ConnectionError> {
        let tls = target.tls.clone().expect("HTTP/3 has no cleartext");
        let crypto = QuicClientConfig::try_from(tls).expect("the ring provider has TLS 1.3");
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::client((from, 0).into()).expect("any port will do");
        let connecting = endpoint
            .connect_with(config, target.address, &target.server_name)
            .expect("tests name a valid server");
        let connection = connecting.await?;
        Self::over(endpoint, connection, target).await
    }

    /// HTTP/3 on a connection of the test's own, complete or in early data.
    pub async fn over(
        endpoint: Endpoint,
        connection: quinn::Connection,
        target: &Target,
    ) -> Result<Self, quinn::ConnectionError> {
        let (mut driver, sender) = h3::client::new(h3_quinn::Connection::new(connection.clone()))
            .await
            .map_err(|_| {
                connection
                    .close_reason()
                    .unwrap_or(quinn::ConnectionError::LocallyClosed)
            })?;
        let leaving = Arc::new(Notify::new());
        let leave = leaving.clone();
        let driver = tokio::spawn(async move {
            tokio::select! {
                _ = poll_fn(|cx| driver.poll_close(cx)) => return,
                () = leave.notified() => {}
            }
            // The server has to say that it is over.
            let _closed = driver.shutdown(0).await;
            poll_fn(|cx| driver.poll_close(cx)).await;
        });
        Ok(Self {
            endpoint,
            connection,
            sender,
            target: target.clone(),
            driver,
            leaving,
        })
    }

    /// The address that the gateway sees, unless something is between.
    pub fn local_address(&self) -> SocketAddr {
        self.endpoint.local_addr().expect("it is bound")
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> impl Future<Output = Answer> {
        self.get_with(path, &[])
    }

    #[track_caller]
    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> impl Future<Output = Answer> {
        let caller = std::panic::Location::caller();
        let mut request = self.target.request("GET", path);
        add_headers(request.headers_mut(), headers);
        async move {
            let uri = request.uri().clone();
            match self.send(request, Bytes::new()).await {
                Ok(answer) => answer,
                Err(error) => panic!("{caller}: GET {uri}: {error}"),
            }
        }
    }

    /// Sends a request with a body in one piece, and reads the response to its end.
    pub async fn send(&self, request: Request<()>, body: Bytes) -> Result<Answer, StreamError> {
        let mut stream = self.open(request).await?;
        if !body.is_empty() {
            stream.send_data(body).await?;
        }
        finished(stream.finish().await)?;
        Self::read(&mut stream).await
    }

    /// Begins a request; its body is the caller's to send.
    pub async fn open(
        &self,
        request: Request<()>,
    ) -> Result<RequestStream<BidiStream<Bytes>, Bytes>, StreamError> {
        self.sender.clone().send_request(request).await
    }

    /// A request for a path of the server that this client is connected to.
    pub fn request(&self, method: &str, path: &str) -> Request<()> {
        self.target.request(method, path)
    }

    /// Reads a response to its end.
    pub async fn read(
        stream: &mut RequestStream<BidiStream<Bytes>, Bytes>,
    ) -> Result<Answer, StreamError> {
        let (head, ()) = stream.recv_response().await?.into_parts();
        let mut body = Vec::new();
        while let Some(mut data) = stream.recv_data().await? {
            body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        let trailers = stream.recv_trailers().await?.unwrap_or_default();
        let (status, headers) = (head.status, head.headers);
        Ok(Answer {
            status,
            version: Version::HTTP_3,
            headers,
            body: body.into(),
            trailers,
        })
    }

    /// Streams a request body and hashes the response's, both at once.
    pub async fn exchange(
        &self,
        request: Request<()>,
        mut body: impl Stream<Item = Bytes> + Unpin,
    ) -> Result<(Response<()>, Download, HeaderMap), StreamError> {
        let (mut send, mut receive) = self.open(request).await?.split();
        let upload = async {
            while let Some(piece) = body.next().await {
                send.send_data(piece).await?;
            }
            finished(send.finish().await)
        };
        let download = async {
            let head = receive.recv_response().await?;
            let (mut hash, mut length) = (Sha256::new(), 0);
            while let Some(mut data) = receive.recv_data().await? {
                length += data.remaining() as u64;
                while data.has_remaining() {
                    hash.update(data.chunk());
                    data.advance(data.chunk().len());
                }
            }
            let trailers = receive.recv_trailers().await?.unwrap_or_default();
            Ok((
                head,
                Download {
                    length,
                    sha256: hex(&hash.finalize()),
                },
                trailers,
            ))
        };
        let ((), answer) = tokio::try_join!(upload, download)?;
        Ok(answer)
    }

    /// Says that no more requests come (GOAWAY).
    pub fn leave(&self) {
        self.leaving.notify_one();
    }

    /// Why the connection ended, once it has.
    pub async fn closed(&self) -> quinn::ConnectionError {
        self.connection.closed().await
    }
}

/// RFC 9114 4.1: a server that has answered may refuse the rest of the request without an
/// error, and the response counts.
fn finished(outcome: Result<(), StreamError>) -> Result<(), StreamError> {
    match outcome {
        Err(StreamError::RemoteTerminate {
            code: Code::H3_NO_ERROR,
            ..
        }) => Ok(()),
        outcome => outcome,
    }
}

impl Drop for H3 {
    fn drop(&mut self) {
        self.driver.abort();
        self.connection.close(quinn::VarInt::from_u32(0x100), b"");
    }
}
