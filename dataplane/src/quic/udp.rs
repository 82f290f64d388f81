//! One UDP socket of a shard: batches in, batches out.
//!
//! Everything that connections want to send in a turn is gathered in an [`Egress`] and
//! leaves with few system calls: runs of equal datagrams to one peer as one message
//! (GSO), and all messages with one `sendmmsg`. Where the kernel or the interface
//! cannot segment, the socket notices once and goes on without.

use std::{
    cell::{Cell, RefCell},
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Instant,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::{
    incoming::{BufferPool, Incoming, LARGE_LEN},
    metrics::{DatagramDrop, Metrics},
};
use crate::sys::{self, ReceiveBatch};

mod egress;

pub(crate) use egress::Egress;

/// A bound socket.
pub struct UdpSocket {
    fd: AsyncFd<std::net::UdpSocket>,
    local: SocketAddr,
    overflow: Cell<u32>,
    egress: RefCell<Egress>,
    /// Wakes the task that flushes.
    flusher: RefCell<Option<Waker>>,
    /// Wake when there is room in the egress again.
    blocked: RefCell<Vec<Waker>>,
    blocked_since: Cell<Option<Instant>>,
}

impl UdpSocket {
    /// Binds with SO_REUSEPORT, so that each shard has its own.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn bind(local: SocketAddr) -> io::Result<Self> {
        // QUIC packets are never fragmented (RFC 9000 14); discovery is the sender's.
        let discovery = match local.is_ipv4() {
            true => libc::IP_PMTUDISC_PROBE,
            false => libc::IPV6_PMTUDISC_PROBE,
        };
        let socket = open(local, discovery)?;
        let segments = sys::set_option(socket.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
        Self::new(socket, segments)
    }

    /// A bound socket for [relayed](super::relay) packets, which are longer than what they
    /// carry: they may be fragmented.
    pub(super) fn open_relay(local: SocketAddr) -> io::Result<std::net::UdpSocket> {
        let discovery = match local.is_ipv4() {
            true => libc::IP_PMTUDISC_DONT,
            false => libc::IPV6_PMTUDISC_DONT,
        };
        open(local, discovery)
    }

    /// Serves such a socket. The kernel does not fragment what it segments itself.
    ///
    /// # Errors
    /// What the runtime says.
    pub(crate) fn relay(socket: std::net::UdpSocket) -> io::Result<Self> {
        Self::new(socket, false)
    }

    fn new(socket: std::net::UdpSocket, segments: bool) -> io::Result<Self> {
        let local = socket.local_addr()?;
        Ok(Self {
            fd: sys::watch(socket)?,
            local,
            overflow: Cell::new(0),
            egress: RefCell::new(Egress::new(segments, local.ip().is_unspecified())),
            flusher: RefCell::default(),
            blocked: RefCell::default(),
            blocked_since: Cell::default(),
        })
    }

    /// Where it is bound.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether packets from this address leave through this socket.
    pub(crate) fn serves(&self, from: SocketAddr) -> bool {
        self.local.port() == from.port()
            && self.local.is_ipv4() == from.is_ipv4()
            && (self.local.ip().is_unspecified() || self.local.ip() == from.ip())
    }

    /// Buffers for [`receive`](Self::receive).
    pub(crate) fn receive_batch() -> ReceiveBatch {
        ReceiveBatch::new(RECEIVE_BATCH, LARGE_LEN)
    }

    /// Waits for datagrams and gives each to `deliver`: one batch, after which connections
    /// have their turn before more is taken from the socket.
    pub(crate) async fn receive(
        &self,
        batch: &mut ReceiveBatch,
        pool: &Rc<BufferPool>,
        metrics: &dyn Metrics,
        mut deliver: impl FnMut(Incoming),
    ) -> io::Result<()> {
        let count = loop {
            let mut guard = self.fd.readable().await?;
            match guard.try_io(|fd| batch.receive(fd.as_fd())) {
                Ok(Ok(count)) => {
                    // A batch that is not full has emptied the socket; asking once more
                    // would only find that out.
                    if count < RECEIVE_BATCH {
                        guard.clear_ready();
                    }
                    break count;
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                // ICMP errors of earlier sends: another datagram may be behind them.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::ECONNREFUSED) => {}
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        };
        for index in 0..count {
            let Some(received) = batch.received(index) else {
                continue;
            };
            if let Some(total) = received.overflow {
                let new = total.wrapping_sub(self.overflow.replace(total));
                if new > 0 {
                    metrics.kernel_dropped(new.into());
                }
            }
            if received.len == 0 || received.truncated {
                let reason = if received.truncated {
                    DatagramDrop::Malformed
                } else {
                    DatagramDrop::Empty
                };
                metrics.datagrams_received(1, received.len as u64);
                metrics.datagram_dropped(reason);
                continue;
            }
            let local_ip = received.local.unwrap_or(self.local.ip());
            let incoming = Incoming {
                peer_addr: received.peer,
                local_addr: SocketAddr::new(local_ip, self.local.port()),
                rx_time: received.rx_time,
                buf: pool.take(batch.buffer(index), received.len),
                gro: received.segment,
                via: None,
            };
            metrics.datagrams_received(incoming.count() as u64, received.len as u64);
            deliver(incoming);
        }
        if count == RECEIVE_BATCH {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Lets `write` add datagrams to what leaves at the end of this turn.
    pub(crate) fn transmit<R>(&self, write: impl FnOnce(&mut Egress) -> R) -> R {
        let mut egress = self.egress.borrow_mut();
        let result = write(&mut egress);
        if !egress.is_empty()
            && let Some(flusher) = self.flusher.borrow_mut().take()
        {
            flusher.wake();
        }
        result
    }

    /// Wakes `waker` once there is room again.
    pub(crate) fn wake_when_writable(&self, waker: &Waker) {
        self.blocked.borrow_mut().push(waker.clone());
    }

    /// Sends what was gathered, turn after turn. Never ends.
    pub(crate) async fn flush(&self, metrics: &dyn Metrics) {
        std::future::poll_fn(|cx| self.poll_flush(cx, metrics)).await
    }

    /// Takes what was gathered instead of sending it: who sends, to whom, and what.
    #[cfg(debug_assertions)]
    pub(crate) fn take(&self, each: impl FnMut(SocketAddr, SocketAddr, &[u8])) {
        self.egress.borrow_mut().take(each);
        self.blocked.borrow_mut().drain(..).for_each(Waker::wake);
    }

    fn poll_flush(&self, cx: &mut Context<'_>, metrics: &dyn Metrics) -> Poll<()> {
        loop {
            let mut egress = self.egress.borrow_mut();
            if egress.is_empty() {
                *self.flusher.borrow_mut() = Some(cx.waker().clone());
                return Poll::Pending;
            }
            match egress.send(self.fd.as_fd(), metrics) {
                Ok(()) => {
                    if let Some(since) = self.blocked_since.take() {
                        metrics.write_blocked(since.elapsed());
                    }
                    drop(egress);
                    self.blocked.borrow_mut().drain(..).for_each(Waker::wake);
                }
                Err(_would_block) => {
                    drop(egress);
                    if self.blocked_since.get().is_none() {
                        self.blocked_since.set(Some(Instant::now()));
                    }
                    // A stale readiness is cleared and tried once more; then it is Pending.
                    match ready!(self.fd.poll_write_ready(cx)) {
                        Ok(mut ready) => ready.clear_ready(),
                        Err(_runtime_is_gone) => return Poll::Ready(()),
                    }
                }
            }
        }
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn open(local: SocketAddr, discovery: i32) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The kernel grants what its limits allow.
    let _limited = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _limited = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&local.into())?;
    configure(socket.as_fd(), local, discovery)?;
    Ok(socket.into())
}

fn configure(fd: BorrowedFd<'_>, local: SocketAddr, discovery: i32) -> io::Result<()> {
    // Without these the gateway works, with less knowledge or more calls.
    let _optional = sys::set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
    let _optional = sys::set_option(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
    let _optional = sys::set_option(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
    if local.is_ipv4() {
        sys::set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        sys::set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, discovery)
    } else {
        sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, discovery)
    }
}

/// Source address to name when the socket is bound to all of them.
pub(crate) fn source(wildcard: bool, from: IpAddr) -> Option<IpAddr> {
    (wildcard && !from.is_unspecified()).then_some(from)
}

const RECEIVE_BATCH: usize = 16;
/// A burst of 4 MiB while the shard is busy elsewhere.
const SOCKET_BUFFER: usize = 4 << 20;
