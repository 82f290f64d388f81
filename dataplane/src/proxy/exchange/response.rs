//! A response's body on its way to the client.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::Exchange;
use crate::proxy::{
    body::BodyError,
    fields,
    pause::{Exceeded, Pause},
    upstream::Lease,
};

/// What a front-end pulls and sends to the client. It holds the upstream connection:
/// well ended, the connection goes back to its pool; else the connection or its stream
/// is torn down, which tells the upstream.
pub struct ResponseBody {
    incoming: Incoming,
    exchange: Rc<Exchange>,
    /// `None`: the response is over.
    lease: Option<Lease>,
    pause: Pause,
}

impl ResponseBody {
    pub(crate) fn new(incoming: Incoming, exchange: Rc<Exchange>, lease: Lease) -> Self {
        let mut body = Self {
            incoming,
            exchange,
            lease: Some(lease),
            pause: Pause::default(),
        };
        // Nobody may ever ask for the content of a response that has none.
        if body.incoming.is_end_stream() {
            body.end(None);
        }
        body
    }

    /// When the request must be over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.exchange.deadline()
    }

    fn end(&mut self, error: Option<&'static str>) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        // An upload that still runs would go on into whatever comes next on the connection.
        if error.is_none() && self.exchange.upload_is_done() {
            lease.release();
        } else {
            lease.discard();
        }
        self.exchange.over(error);
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.lease.is_none() {
            return Poll::Ready(None);
        }
        // Content that never pauses would outrun the timer below.
        if this
            .exchange
            .deadline()
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            this.end(Some("request_timeout"));
            return Poll::Ready(Some(Err(BodyError::Timeout)));
        }
        let Poll::Ready(event) = Pin::new(&mut this.incoming).poll_frame(cx) else {
            let limits = (this.exchange.idle_timeout.get(), this.exchange.deadline());
            return this.pause.poll(cx, limits.0, limits.1).map(|exceeded| {
                let (error, label) = match exceeded {
                    Exceeded::Idle => (BodyError::Idle, "response_body_idle"),
                    Exceeded::Deadline => (BodyError::Timeout, "request_timeout"),
                };
                this.end(Some(label));
                Some(Err(error))
            });
        };
        this.pause.end();
        Poll::Ready(match event {
            Some(Ok(frame)) => {
                let last = frame.is_trailers() || this.incoming.is_end_stream();
                let frame = match frame.into_trailers() {
                    Ok(mut trailers) => {
                        fields::clean_response(&mut trailers);
                        Frame::trailers(trailers)
                    }
                    Err(frame) => frame,
                };
                let sent = &this.exchange.response_bytes;
                sent.set(sent.get() + frame.data_ref().map_or(0, |data| data.len() as u64));
                if last {
                    this.end(None);
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                this.end(Some("upstream_reset"));
                Some(Err(BodyError::Upstream(error)))
            }
            None => {
                this.end(None);
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.lease.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// The client does not want the rest.
impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.end(Some("client_gone"));
    }
}
