//! Packets that reached another data plane of the Gateway than their connection's.
//!
//! Whatever is in front of the data planes may send a live connection's packets to another
//! one: the client has a new address, or what remembered the flow forgot it. The data plane
//! that gets such a packet reads its owner from the connection ID and sends it there,
//! [sealed](frame). The owner remembers for the client's address [which way](vias) its
//! packets came, and sends its own back that way, because that is where the network expects
//! them to come from. A packet is relayed once at the most, and the port answers nobody by
//! itself.

pub mod frame;
pub mod peers;
pub(crate) mod vias;

use std::{
    cell::{Ref, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    task::Waker,
};

use self::{
    frame::{OVERHEAD, Opened, Sealer, Way},
    peers::Peers,
};
use super::{
    metrics::{DatagramDrop, Metrics, Relayed},
    udp::UdpSocket,
};
use crate::snapshot::SecretKey;

/// The way that a datagram came, if not straight from its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via {
    /// Relay port of the data plane that received it.
    pub relay: SocketAddr,
    /// Address of that data plane that it was sent to.
    pub local: SocketAddr,
}

/// One shard's part in relaying: its socket, the keys, and who the others are.
pub struct Relay {
    /// `None`: nothing is relayed.
    socket: Option<Rc<UdpSocket>>,
    peers: RefCell<Arc<Peers>>,
    sealer: RefCell<Sealer>,
}

/// Relays nothing, and knows of nobody.
impl Default for Relay {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Relay {
    pub(crate) fn new(socket: Option<UdpSocket>) -> Self {
        Self {
            socket: socket.map(Rc::new),
            peers: RefCell::default(),
            sealer: RefCell::new(Sealer::new(rand::random())),
        }
    }

    pub(crate) fn set_peers(&self, peers: Arc<Peers>) {
        *self.peers.borrow_mut() = peers;
    }

    pub(crate) fn set_keys(&self, keys: &[SecretKey]) {
        self.sealer.borrow_mut().set_keys(keys);
    }

    pub(crate) fn peers(&self) -> Ref<'_, Peers> {
        Ref::map(self.peers.borrow(), |peers| &**peers)
    }

    pub(crate) fn socket(&self) -> Option<&Rc<UdpSocket>> {
        self.socket.as_ref()
    }

    /// Whether nothing more fits into this turn.
    pub(crate) fn is_full(&self) -> bool {
        let full = |socket: &Rc<UdpSocket>| {
            socket.transmit(|egress| egress.room_for(LONGEST_FRAME).is_none())
        };
        self.socket.as_ref().is_some_and(full)
    }

    /// Wakes `waker` once there is room again.
    pub(crate) fn wake_when_writable(&self, waker: &Waker) {
        if let Some(socket) = &self.socket {
            socket.wake_when_writable(waker);
        }
    }

    /// Sends a datagram to another data plane. One that cannot be sent is counted.
    pub(crate) fn send(
        &self,
        to: SocketAddr,
        way: Way,
        client: SocketAddr,
        local: SocketAddr,
        datagram: &[u8],
        metrics: &dyn Metrics,
    ) {
        let Some(socket) = &self.socket else {
            return metrics.datagram_dropped(DatagramDrop::RelayOff);
        };
        socket.transmit(|egress| {
            let Some(room) = egress.room_for(datagram.len() + OVERHEAD) else {
                return metrics.datagram_dropped(DatagramDrop::RelayFull);
            };
            let sealed = self
                .sealer
                .borrow_mut()
                .seal(way, client, local, datagram, room);
            let Some(len) = sealed else {
                return metrics.datagram_dropped(DatagramDrop::RelayOff);
            };
            egress.push(len, socket.local(), to);
            metrics.datagram_relayed(match way {
                Way::ToOwner => Relayed::ToOwner,
                Way::ToClient => Relayed::ToPeer,
            });
        });
    }

    /// What is in a frame, unless it is forged.
    pub(crate) fn open<'a>(&self, frame: &'a mut [u8]) -> Option<Opened<'a>> {
        self.sealer.borrow_mut().open(frame)
    }
}

/// The socket of one shard: bound, with nobody serving it yet.
///
/// # Errors
/// What the kernel says.
pub fn bind(listen: SocketAddr) -> io::Result<std::net::UdpSocket> {
    UdpSocket::open_relay(listen)
}

/// Any datagram that a path carries, and its seal.
const LONGEST_FRAME: usize = 1_500 + OVERHEAD;
