//! HTTP/1.1 and HTTP/2 by hyper, over TLS by rustls or in the clear.

use std::net::SocketAddr;

use http::{Request, Response, Uri, header::HOST};
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;

use super::{Answer, Body, Target, add_headers, empty};

/// The protocol to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    H1,
    H2,
}

/// One connection; dropped, it is closed.
pub struct Tcp {
    sender: Sender,
    target: Target,
    local_address: SocketAddr,
    /// The leaf certificate that the server showed, DER.
    pub certificate: Option<Vec<u8>>,
    connection: JoinHandle<hyper::Result<()>>,
}

enum Sender {
    H1(http1::SendRequest<Body>),
    H2(http2::SendRequest<Body>),
}

impl Tcp {
    #[track_caller]
    pub fn connect(target: &Target, wire: Wire) -> impl Future<Output = Self> + use<> {
        let caller = std::panic::Location::caller();
        let target = target.clone();
        async move {
            match Self::try_connect(&target, wire).await {
                Ok(client) => client,
                Err(error) => panic!(
                    "{caller}: no {wire:?} connection to {}: {error:#}",
                    target.address
                ),
            }
        }
    }

    pub async fn try_connect(target: &Target, wire: Wire) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let local_address = stream.local_addr()?;
        let alpn = if wire == Wire::H2 { "h2" } else { "http/1.1" };
        let mut certificate = None;
        let (sender, connection) = match target.with_alpn(&[alpn]) {
            None => handshake(stream, wire).await?,
            Some(config) => {
                let name = ServerName::try_from(target.server_name.clone())?;
                let stream = TlsConnector::from(config).connect(name, stream).await?;
                let session = stream.get_ref().1;
                anyhow::ensure!(
                    session.alpn_protocol() == Some(alpn.as_bytes()),
                    "the server did not choose {alpn}"
                );
                certificate = session
                    .peer_certificates()
                    .and_then(|chain| chain.first())
                    .map(|leaf| leaf.to_vec());
                handshake(stream, wire).await?
            }
        };
        Ok(Self {
            sender,
            target: target.clone(),
            local_address,
            certificate,
            connection,
        })
    }

    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    #[track_caller]
    pub fn get(&mut self, path: &str) -> impl Future<Output = Answer> {
        self.get_with(path, &[])
    }

    #[track_caller]
    pub fn get_with(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> impl Future<Output = Answer> {
        let caller = std::panic::Location::caller();
        let mut request = self.target.request("GET", path).map(|()| empty());
        add_headers(request.headers_mut(), headers);
        async move {
            match self.send(request).await {
                Ok(answer) => answer,
                Err(error) => panic!("{caller}: {error:?}"),
            }
        }
    }

    /// A request for a path of the server that this client is connected to.
    pub fn request(&self, method: &str, path: &str, body: Body) -> Request<Body> {
        self.target.request(method, path).map(|()| body)
    }

    pub async fn send(&mut self, request: Request<Body>) -> hyper::Result<Answer> {
        let (head, body) = self.begin(request).await?.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let (status, version, headers) = (head.status, head.version, head.headers);
        Ok(Answer {
            status,
            version,
            headers,
            body: body.to_bytes(),
            trailers,
        })
    }

    /// Resolves at the response's head.
    pub async fn begin(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::H1(sender) => {
                sender.ready().await?;
                sender.send_request(origin_form(request)).await
            }
            Sender::H2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// Resolves when the connection has ended, with its error if it was one.
    pub async fn closed(mut self) -> hyper::Result<()> {
        (&mut self.connection)
            .await
            .expect("it is not aborted while self lives")
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// HTTP/1.1 has the path in the request line, and the authority in `Host`.
fn origin_form(mut request: Request<Body>) -> Request<Body> {
    let authority = request
        .uri()
        .authority()
        .map(ToString::to_string)
        .unwrap_or_default();
    if let (false, Ok(host)) = (request.headers().contains_key(HOST), authority.parse()) {
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
    request
}

async fn handshake<S>(
    stream: S,
    wire: Wire,
) -> hyper::Result<(Sender, JoinHandle<hyper::Result<()>>)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    Ok(match wire {
        Wire::H1 => {
            let (sender, connection) = http1::handshake(io).await?;
            (Sender::H1(sender), tokio::spawn(connection))
        }
        Wire::H2 => {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            (Sender::H2(sender), tokio::spawn(connection))
        }
    })
}
