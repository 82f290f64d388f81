//! Flushes a connection once in a turn.
//!
//! hyper flushes after each DATA frame and each response, though it has the next one at
//! hand. Here a flush waits until hyper has done all that it can.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that hyper has, and that its driver flushes.
#[derive(Debug)]
pub(super) struct Turn<S>(Rc<Shared<S>>);

#[derive(Debug)]
struct Shared<S> {
    stream: RefCell<S>,
    /// A turn is under way.
    holding: Cell<bool>,
    /// A flush was asked for and has not been made.
    due: Cell<bool>,
}

impl<S> Turn<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(Rc::new(Shared {
            stream: RefCell::new(stream),
            holding: Cell::new(false),
            due: Cell::new(false),
        }))
    }

    pub(super) fn share(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> Turn<S>
where
    S: AsyncWrite + Unpin,
{
    /// Does this without flushing.
    pub(super) fn take<T>(&self, turn: impl FnOnce() -> T) -> T {
        self.0.holding.set(true);
        let done = turn();
        self.0.holding.set(false);
        done
    }

    /// Flushes what turns have left. Ready only when it cannot be.
    pub(super) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.0.due.get() {
            if let Err(error) = ready!(self.flush(cx)) {
                return Poll::Ready(error);
            }
            self.0.due.set(false);
        }
        Poll::Pending
    }

    fn flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_flush(cx)
    }
}

impl<S> AsyncWrite for Turn<S>
where
    S: AsyncWrite + Unpin,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.stream.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.holding.get() {
            self.0.due.set(true);
            return Poll::Ready(Ok(()));
        }
        self.flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_shutdown(cx)
    }
}

impl<S> AsyncRead for Turn<S>
where
    S: AsyncRead + Unpin,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_read(cx, buf)
    }
}
