//! Bodies that pass through a shard, whichever protocol they came by.
//!
//! Owns the one body type that [`serve`](super::serve) takes and gives, and the reasons
//! for which a body ends before its time. Never buffers: a frame is pulled when the other
//! side has room for it. Front-ends make request bodies, [`serve`](super::serve) makes
//! response bodies.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{exchange::ResponseBody, tunnel::Tunnel};

/// A request's or response's body. It lives on one shard and is not `Send`.
#[derive(Default)]
pub enum Body {
    /// No content and no trailers.
    #[default]
    Empty,
    /// Content at hand; `None` once it was taken.
    Full(Option<Bytes>),
    /// A request's body as hyper's HTTP/1.1 or HTTP/2 server gives it.
    Hyper(Incoming),
    /// A request's body of another front-end. Dropped before its end, it tells the client
    /// to stop sending.
    Boxed(Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError>>>),
    /// A response's body on its way from an upstream. Dropped before its end, it cancels
    /// the upstream request.
    Upstream(ResponseBody),
    /// No content, but another protocol. Front-ends take it out of a response that says so.
    Tunnel(Box<Tunnel>),
}

/// Why a body ended before its time. Whoever sends the body on must make the
/// other side see a reset, never a clean end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The peer cancelled the stream, or its connection is gone.
    #[error("the peer cancelled or vanished")]
    Reset,
    /// Nothing moved for the listener's body idle time-out.
    #[error("the body stood still for longer than the idle time-out")]
    Idle,
    /// The route's request time-out passed while the body was under way.
    #[error("the request took longer than its time-out")]
    Timeout,
    /// More or less content than Content-Length says (RFC 9110 8.6).
    #[error("the content is not as long as Content-Length says")]
    LengthMismatch,
    /// Trailers with a field that may not be there (RFC 9110 6.5.1).
    #[error("the trailers are malformed")]
    Trailers,
    /// The upstream broke off.
    #[error("the upstream broke off")]
    Upstream(#[source] hyper::Error),
}

impl Body {
    /// A body of these bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() {
            Self::Empty
        } else {
            Self::Full(Some(bytes))
        }
    }

    /// The tunnel, if there is one; then nothing is left.
    pub(crate) fn take_tunnel(&mut self) -> Option<Tunnel> {
        match std::mem::take(self) {
            Self::Tunnel(tunnel) => Some(*tunnel),
            other => {
                *self = other;
                None
            }
        }
    }

    /// When the request that this is the response of must be over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Upstream(body) => body.deadline(),
            _ => None,
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty | Self::Tunnel(_) => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            // Hyper says in many words that the client went away; none of them helps.
            Self::Hyper(body) => Poll::Ready(
                ready!(Pin::new(body).poll_frame(cx))
                    .map(|frame| frame.map_err(|_| BodyError::Reset)),
            ),
            Self::Boxed(body) => body.as_mut().poll_frame(cx),
            Self::Upstream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Tunnel(_) => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Hyper(body) => body.is_end_stream(),
            Self::Boxed(body) => body.is_end_stream(),
            Self::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Tunnel(_) => SizeHint::with_exact(0),
            Self::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Hyper(body) => body.size_hint(),
            Self::Boxed(body) => body.size_hint(),
            Self::Upstream(body) => body.size_hint(),
        }
    }
}
