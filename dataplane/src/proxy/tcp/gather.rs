//! Many small writes, made few.
//!
//! Above TLS it fills records: of an HTTP/2 frame, head and content would be one each. Below
//! TLS it gathers them: BoringSSL writes each to the socket by itself.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a TLS record holds (RFC 8446 5.1).
pub(super) const RECORD: usize = 16 * 1024;
/// Four full records, which is about what the kernel gives a device at once. More of them
/// save nothing.
pub(super) const SEGMENTS: usize = 4 * (RECORD + RECORD_OVERHEAD);
/// In TLS 1.3: header, content type and tag.
const RECORD_OVERHEAD: usize = 22;

/// Keeps what is written until there is `limit` of it, or it is flushed.
#[derive(Debug)]
pub(super) struct Gather<S> {
    inner: S,
    held: Vec<u8>,
    /// How much of it has been written.
    written: usize,
    limit: usize,
}

impl<S> Gather<S> {
    pub(super) fn new(inner: S, limit: usize) -> Self {
        Self {
            inner,
            held: Vec::new(),
            written: 0,
            limit,
        }
    }
}

impl<S> Gather<S>
where
    S: AsyncWrite + Unpin,
{
    fn write_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.held.len() {
            let inner = Pin::new(&mut self.inner);
            match ready!(inner.poll_write(cx, &self.held[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.held.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S> AsyncWrite for Gather<S>
where
    S: AsyncWrite + Unpin,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.held.len() == this.limit {
            ready!(this.write_held(cx))?;
        }
        if this.held.is_empty() && buf.len() >= this.limit {
            return Pin::new(&mut this.inner).poll_write(cx, buf);
        }
        let count = buf.len().min(this.limit - this.held.len());
        this.held.extend_from_slice(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut count = 0;
        for buf in bufs {
            match self.as_mut().poll_write(cx, buf) {
                Poll::Ready(Ok(taken)) => {
                    count += taken;
                    if taken < buf.len() {
                        break;
                    }
                }
                // It comes again if it is an error.
                _ if count > 0 => break,
                other => return other,
            }
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_held(cx))?;
        // Connections are idle most of the time.
        self.held = Vec::new();
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_held(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S> AsyncRead for Gather<S>
where
    S: AsyncRead + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}
