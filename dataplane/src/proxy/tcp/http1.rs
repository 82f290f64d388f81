//! HTTP/1.1 on a connection that may become something else.
//!
//! Hyper's own upgrades want a connection that can change threads. Here hyper is asked to
//! leave the connection as it is at the end: then it goes on as a tunnel, or is closed.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::server::conn::http1::{Connection, Parts};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::{Requests, live::Active};
use crate::proxy::tunnel::Tunnel;

/// The tunnel that follows the last response.
pub(super) type Next = Rc<Cell<Option<(Tunnel, Active)>>>;

/// A connection until HTTP has ended on it.
pub(super) struct Http1<S> {
    stage: Stage<S>,
    next: Next,
}

enum Stage<S> {
    Serving(Box<Connection<TokioIo<S>, Requests>>),
    Closing(S),
    Switched(Box<Switched<S>>),
    Done,
}

/// A connection that is a tunnel's.
pub(super) struct Switched<S> {
    client: S,
    /// What the client said after its request.
    early: Bytes,
    tunnel: Tunnel,
    active: Active,
}

impl<S> Http1<S>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    pub(super) fn new(connection: Connection<TokioIo<S>, Requests>, next: Next) -> Self {
        let stage = Stage::Serving(Box::new(connection));
        Self { stage, next }
    }

    /// No more requests.
    pub(super) fn graceful_shutdown(&mut self) {
        if let Stage::Serving(connection) = &mut self.stage {
            Pin::new(&mut **connection).graceful_shutdown();
        }
    }

    /// What the connection has become, if it is not over.
    pub(super) fn switched(self) -> Option<Box<Switched<S>>> {
        match self.stage {
            Stage::Switched(switched) => Some(switched),
            _ => None,
        }
    }

    fn end(&mut self) {
        let Stage::Serving(connection) = std::mem::replace(&mut self.stage, Stage::Done) else {
            return;
        };
        let Parts { io, read_buf, .. } = connection.into_parts();
        let client = io.into_inner();
        self.stage = match self.next.take() {
            Some((tunnel, active)) => Stage::Switched(Box::new(Switched {
                client,
                early: read_buf,
                tunnel,
                active,
            })),
            None => Stage::Closing(client),
        };
    }
}

impl<S> Future for Http1<S>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    type Output = hyper::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Stage::Serving(connection) = &mut this.stage {
            ready!(connection.poll_without_shutdown(cx))?;
            this.end();
        }
        if let Stage::Closing(client) = &mut this.stage {
            // Whether the client hears of it is the client's affair.
            let _closed = ready!(Pin::new(client).poll_shutdown(cx));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> Switched<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) async fn run(self) {
        let Self {
            mut client,
            early,
            tunnel,
            active: _active,
        } = self;
        // The head that switched may be held still. An error meets the tunnel as well.
        let _flushed = client.flush().await;
        tunnel.run(client, early).await;
    }
}
