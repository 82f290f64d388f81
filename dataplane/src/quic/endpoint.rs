//! What the connections of one binding share on a shard.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, time::SystemTime};

use tidegate_proto::v1;

use super::{
    cid::{Cid, CidCodec, ConnectionIdGenerator, Location},
    demux::Place,
    half_open::HalfOpen,
    incoming::{BufferPool, Incoming},
    map::ConnectionMap,
    metrics::Metrics,
    relay::Relay,
    token,
    turnstile::Turnstile,
    udp::UdpSocket,
};
use crate::{
    connections::{Handle, LiveConnection},
    snapshot::SecretKey,
    tls::Flight,
};

/// What the connection layer needs of the shard around it.
pub trait Host {
    /// Counts events.
    fn metrics(&self) -> &dyn Metrics;
    /// The handle that the next registered connection gets.
    fn vacant(&self) -> Handle;
    /// Shows a connection to operators.
    fn register(&self, connection: Rc<dyn LiveConnection>) -> Handle;
    /// The connection's memory is given back.
    fn unregister(&self, handle: Handle);
    /// Early data of a ClientHello with this random was accepted: whether it may be served.
    /// Without a register none may.
    fn early_flight(&self, random: [u8; 32]) -> Flight {
        let _ = random;
        Flight::NoRoom
    }
    /// A handshake was completed.
    fn established(&self, handle: Handle, facts: v1::Connection);
    /// Gives datagrams of another shard's connection to that shard. Says whether there was
    /// room.
    fn hand_over(&self, shard: u8, incoming: Incoming) -> bool;
    /// A connection ended: called once for each registered one.
    fn closed(&self, handle: Handle, record: v1::Connection);
}

/// The keys that connection IDs and stateless tokens are made with.
#[derive(Clone)]
pub struct EndpointKeys {
    /// Makes and reads connection IDs.
    pub cids: CidCodec,
    /// Newest first.
    pub retry: Vec<SecretKey>,
    /// Newest first. Tokens are made with the newest.
    pub reset: Vec<SecretKey>,
}

/// What all endpoints of a shard have in common.
#[derive(Clone, Default)]
pub struct Tables {
    pub(crate) pool: Rc<BufferPool>,
    pub(crate) map: Rc<RefCell<ConnectionMap>>,
    pub(crate) half_open: Rc<RefCell<HalfOpen>>,
    pub(crate) turnstile: Rc<Turnstile>,
    pub(crate) relay: Rc<Relay>,
}

/// Sockets, keys and surroundings of a binding's connections.
pub struct Endpoint {
    pub(crate) host: Rc<dyn Host>,
    pub(crate) sockets: Vec<Rc<UdpSocket>>,
    pub(crate) tables: Tables,
    pub(crate) place: Place,
    pub(crate) keys: RefCell<Rc<EndpointKeys>>,
}

impl Endpoint {
    /// An endpoint on bound sockets.
    pub fn new(
        host: Rc<dyn Host>,
        sockets: Vec<UdpSocket>,
        tables: Tables,
        place: Place,
        keys: Rc<EndpointKeys>,
    ) -> Self {
        let sockets = sockets.into_iter().map(Rc::new).collect();
        Self {
            host,
            sockets,
            tables,
            place,
            keys: RefCell::new(keys),
        }
    }

    /// The socket that packets from `from` leave through.
    pub(crate) fn socket(&self, from: SocketAddr) -> Option<&Rc<UdpSocket>> {
        self.sockets.iter().find(|socket| socket.serves(from))
    }

    /// A fresh connection ID for a connection of this shard, and its reset token.
    pub(crate) fn new_connection_id(&self, handle: Handle, nonce: u64) -> (Cid, u128) {
        let keys = self.keys.borrow();
        let location = Location {
            server: self.place.server,
            shard: self.place.shard,
            handle,
        };
        let cid = keys.cids.new_connection_id(location, nonce);
        let reset = u128::from_be_bytes(token::reset_token(&keys.reset[0], &cid));
        (cid, reset)
    }
    /// A handshake is complete, or given up.
    pub(crate) fn end_handshake(&self, initial: &[u8]) {
        let mut half_open = self.tables.half_open.borrow_mut();
        let counts = half_open.end(initial);
        let metrics = self.host.metrics();
        metrics.half_open(counts);
        metrics.retrying(half_open.retrying(SystemTime::now()));
    }
}
