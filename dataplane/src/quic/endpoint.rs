//! What the connections of one binding share on a shard.

use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Weak,
    time::SystemTime,
};

use tidegate_proto::v1;

use super::{
    QuicheConnection,
    cid::{Cid, CidCodec, ConnectionIdGenerator, Location},
    demux::Place,
    half_open::HalfOpen,
    incoming::{BufferPool, Incoming},
    map::ConnectionMap,
    metrics::Metrics,
    relay::Relay,
    token,
    udp::UdpSocket,
    worker::CONFIDENTIALITY_LIMIT,
};
use crate::{
    capture::Buffer,
    connections::{Handle, LiveConnection},
    snapshot::SecretKey,
    tls::Flight,
    turnstile::Turnstile,
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
    /// A connection is about to see its first packet: the place to begin to write it down.
    /// Returns where its qlog goes, if anywhere.
    fn begins(&self, handle: Handle, qconn: &mut QuicheConnection, peer: IpAddr) -> Weak<Buffer> {
        let _ = (handle, qconn, peer);
        Weak::new()
    }
    /// Packets that AES-GCM may seal under one key; a connection is drained at half of it.
    fn packets_per_key(&self) -> u64 {
        CONFIDENTIALITY_LIMIT
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
    /// The first one makes.
    pub retry: Vec<SecretKey>,
    /// In the order of those of connection IDs. At least one.
    pub reset: Vec<SecretKey>,
}

impl EndpointKeys {
    /// The stateless reset token of a connection ID. It is of the same age as the ID, so it
    /// stays the same for as long as the ID can be read.
    pub fn reset_token(&self, cid: &[u8]) -> [u8; 16] {
        let place = self.cids.key_of(cid).unwrap_or_default();
        // A control plane of before kept fewer of them than of connection IDs.
        let key = self.reset.get(place).unwrap_or(&self.reset[0]);
        token::reset_token(key, cid)
    }
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
        let reset = u128::from_be_bytes(keys.reset_token(&cid));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::CidKey;

    #[test]
    fn a_reset_token_stays_the_same_for_as_long_as_its_connection_id_is_read() {
        let keys = |ids: &[u32], resets: &[u32]| EndpointKeys {
            cids: CidCodec::new(&ids.iter().map(|&id| cid_key(id)).collect::<Vec<_>>()),
            retry: vec![],
            reset: resets.iter().map(|&id| secret(id)).collect(),
        };
        let first = keys(&[1, 2], &[1, 2]);
        let location = Location {
            server: 7,
            shard: 0,
            handle: Handle {
                slot: 1,
                generation: 1,
            },
        };
        let cid = first.cids.new_connection_id(location, 9);
        let token = first.reset_token(&cid);
        assert_eq!(keys(&[2, 3, 1], &[2, 3, 1]).reset_token(&cid), token);
        assert_eq!(keys(&[3, 4, 2, 1], &[3, 4, 2, 1]).reset_token(&cid), token);
        // A control plane of before has fewer.
        assert_eq!(keys(&[2, 1], &[2, 1]).reset_token(&cid), token);
        assert_ne!(keys(&[3, 2, 1], &[3, 2]).reset_token(&cid), token);
    }

    fn cid_key(id: u32) -> CidKey {
        CidKey {
            id,
            aes: [id as u8; 16],
        }
    }

    fn secret(id: u32) -> SecretKey {
        SecretKey {
            id,
            secret: [id as u8; 32],
        }
    }
}
