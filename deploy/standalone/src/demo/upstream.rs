//! The demo's upstream: a small server in HTTP/1.1 and in HTTP/2 with prior knowledge, that shows what the gateway makes of a request.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response, StatusCode, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

mod answers;

use answers::Body;

pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Upstream {
    /// Listens on `address`; port 0 takes a free one.
    pub(super) async fn start(address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(accept(listener));
        Ok(Self { address, accepting })
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream));
                }
                // Out of file descriptors, most likely: one may come free.
                Err(error) => {
                    tracing::warn!(%error, "demo upstream cannot accept");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream) {
    // Failing costs latency only.
    let _ = stream.set_nodelay(true);
    let served = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "demo upstream connection ended");
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let mut segments = path.trim_matches('/').splitn(2, '/');
    let (first, rest) = (
        segments.next().unwrap_or_default(),
        segments.next().unwrap_or_default(),
    );
    let mut response = match first {
        "" => answers::page(&request),
        "echo" => answers::echo(request).await,
        "mirror" => answers::mirror(request),
        "bytes" => answers::bytes(rest),
        "delay" => answers::delay(rest).await,
        "status" => answers::status(rest),
        "sse" => answers::ticks(),
        _ => answers::text(
            StatusCode::NOT_FOUND,
            format!("nothing at {path}: see / for what there is\n"),
        ),
    };
    let server = header::HeaderValue::from_static("tidegate-demo");
    response.headers_mut().insert(header::SERVER, server);
    Ok(response)
}

/// Pieces that become ready one after the other.
fn stream<S>(pieces: S) -> Body
where
    S: futures_util::Stream<Item = Bytes> + Send + 'static,
{
    let frames = pieces.map(|piece| Ok(hyper::body::Frame::data(piece)));
    http_body_util::combinators::UnsyncBoxBody::new(http_body_util::StreamBody::new(frames))
}

#[cfg(test)]
mod tests;
