//! Another protocol on a connection that was HTTP's (RFC 9110 7.8), such as WebSocket.
//!
//! Once the upstream has switched, bytes go both ways as they come, each side only as fast
//! as the other takes them, until both have ended or nothing moves for too long.

use std::{cell::Cell, io, rc::Rc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::{Instant, sleep_until},
};

use super::{Body, exchange::Exchange};
use crate::balance::InFlight;

/// A connection of any kind.
pub(crate) trait Wired: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Wired for T {}

/// An upstream that speaks something else than HTTP from now on.
pub(crate) struct Switched {
    pub(crate) io: Box<dyn Wired>,
    /// What it said of it already.
    pub(crate) early: Bytes,
    pub(crate) in_flight: InFlight,
}

/// The upstream's end of a tunnel. Dropped, it closes the upstream's connection.
pub struct Tunnel {
    upstream: Switched,
    exchange: Rc<Exchange>,
    client: Body,
    idle: Duration,
}

impl Tunnel {
    /// `client` is what the client sends, where that is a stream's content.
    pub(super) fn new(
        upstream: Switched,
        exchange: Rc<Exchange>,
        client: Body,
        idle: Duration,
    ) -> Self {
        Self {
            upstream,
            exchange,
            client,
            idle,
        }
    }

    /// The client's side of a stream.
    pub(super) fn take_client(&mut self) -> Body {
        std::mem::take(&mut self.client)
    }

    /// Moves bytes to the end, and says whether that was a good one. `early` is what the
    /// client has said already.
    pub(super) async fn run<C>(self, client: C, early: Bytes) -> bool
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let exchange = &*self.exchange;
        let Switched {
            io,
            early: said,
            in_flight: _in_flight,
        } = self.upstream;
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let (mut from_upstream, mut to_upstream) = tokio::io::split(io);
        let moved = Cell::new(Instant::now());
        let up = flow(early, &mut from_client, &mut to_upstream, |count| {
            moved.set(Instant::now());
            exchange.count_request(count);
        });
        let down = flow(said, &mut from_upstream, &mut to_client, |count| {
            moved.set(Instant::now());
            exchange.count_response(count);
        });
        let both = async { tokio::try_join!(up, down) };
        let error = tokio::select! {
            ended = both => ended.is_err().then_some("tunnel_reset"),
            () = standstill(&moved, self.idle) => Some("tunnel_idle"),
        };
        exchange.over(error);
        error.is_none()
    }
}

/// One direction. Its end is passed on, and the other direction may go on.
async fn flow<R, W>(early: Bytes, from: &mut R, to: &mut W, moved: impl Fn(u64)) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    if !early.is_empty() {
        to.write_all(&early).await?;
        to.flush().await?;
        moved(early.len() as u64);
    }
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
        to.flush().await?;
        moved(count as u64);
    }
}

/// Resolves when nothing has moved for this long.
async fn standstill(moved: &Cell<Instant>, idle: Duration) {
    loop {
        let until = moved.get() + idle;
        if until <= Instant::now() {
            return;
        }
        sleep_until(until).await;
    }
}

/// What one direction may hold of bytes that the other side does not take yet.
const BUFFER: usize = 8 * 1024;
