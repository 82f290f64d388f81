//! The upstream that every gateway proxies to: HTTP/1.1 without TLS, on one thread.
//!
//! `/` answers 1 KiB, `/bytes/N` so many bytes; whatever is sent is read to its end first.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

static PAYLOAD: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// So many bytes, piece by piece.
struct Payload {
    left: u64,
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = self.left.min(PAYLOAD.len() as u64);
        self.left -= piece;
        let piece = Bytes::from_static(&PAYLOAD[..piece as usize]);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Payload>, hyper::Error> {
    let path = request.uri().path();
    let left = path
        .strip_prefix("/bytes/")
        .and_then(|count| count.parse().ok())
        .unwrap_or(1024);
    let mut content = request.into_body();
    while let Some(frame) = content.frame().await {
        frame?;
    }
    Ok(Response::new(Payload { left }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let address: SocketAddr = std::env::args().nth(1).unwrap_or_default().parse()?;
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(
            http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)),
        );
    }
}
