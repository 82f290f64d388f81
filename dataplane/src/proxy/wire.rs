//! A TCP socket that counts its bytes and does not wait for ever.
//!
//! Below TLS and HTTP, downstream and upstream alike: a peer that stops reading while
//! there is something to write is given up after a time.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::pause::Pause;

/// What went over a socket.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Bytes read from the socket.
    pub(crate) received: Cell<u64>,
    /// Bytes written to the socket.
    pub(crate) sent: Cell<u64>,
}

/// The socket.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    traffic: Rc<Traffic>,
    /// Read already, to find out what the peer speaks.
    peeked: BytesMut,
    pause: Pause,
    write_timeout: Rc<Cell<Duration>>,
}

impl Wire {
    /// Writes fail when they make no progress for `write_timeout`.
    pub(crate) fn new(stream: TcpStream, write_timeout: Duration) -> Self {
        Self {
            stream,
            traffic: Rc::default(),
            peeked: BytesMut::new(),
            pause: Pause::default(),
            write_timeout: Rc::new(Cell::new(write_timeout)),
        }
    }

    /// The counters, which go on counting.
    pub(crate) fn traffic(&self) -> Rc<Traffic> {
        self.traffic.clone()
    }

    /// What it was made with, to be changed when more is known of the peer.
    pub(crate) fn write_timeout(&self) -> Rc<Cell<Duration>> {
        self.write_timeout.clone()
    }

    /// Waits until the peer has said something, or is gone.
    pub(crate) async fn spoken(&self) -> io::Result<()> {
        // A fresh socket may count as readable without there being anything.
        self.stream.peek(&mut [0]).await?;
        Ok(())
    }

    /// Whether the peer begins with these bytes, which are read again afterwards. Waits
    /// until that is certain, so at the longest for as many bytes, or their end.
    pub(crate) async fn begins_with(&mut self, preface: &[u8]) -> io::Result<bool> {
        loop {
            let common = self.peeked.len().min(preface.len());
            if self.peeked[..common] != preface[..common] {
                return Ok(false);
            }
            if common == preface.len() {
                return Ok(true);
            }
            self.peeked.reserve(FIRST_READ);
            let read = self.stream.read_buf(&mut self.peeked).await?;
            self.traffic
                .received
                .set(self.traffic.received.get() + read as u64);
            if read == 0 {
                return Ok(false);
            }
        }
    }

    /// Counts what was written, and times the wait if nothing was.
    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(written) => {
                self.pause.end();
                let sent = &self.traffic.sent;
                sent.set(sent.get() + written.as_ref().map_or(0, |written| *written as u64));
                Poll::Ready(written)
            }
            Poll::Pending => {
                let _ = ready!(self.pause.poll(cx, self.write_timeout.get(), None));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.peeked.is_empty() {
            let length = this.peeked.len().min(buf.remaining());
            buf.put_slice(&this.peeked[..length]);
            this.peeked.advance(length);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let read = (buf.filled().len() - before) as u64;
        this.traffic
            .received
            .set(this.traffic.received.get() + read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        let written = match bufs {
            // `send` costs less than `writev`.
            [only] => stream.poll_write(cx, only),
            _ => stream.poll_write_vectored(cx, bufs),
        };
        self.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Room for a usual request, so that what is peeked is rarely all.
const FIRST_READ: usize = 1024;
