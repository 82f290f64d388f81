//! The shard as the connection layer sees it.

use std::{
    net::IpAddr,
    rc::Rc,
    sync::{Arc, Weak},
};

use tidegate_proto::v1::{self, record::Kind};

use super::{Shard, edges::Datagram};
use crate::{
    capture::Buffer,
    connections::{Handle, LiveConnection},
    quic::{Incoming, Metrics, QuicheConnection, endpoint::Host},
    tls::Flight,
};

impl Host for Shard {
    fn metrics(&self) -> &dyn Metrics {
        &*self.metrics
    }

    fn vacant(&self) -> Handle {
        self.connections.borrow().vacant()
    }

    fn register(&self, connection: Rc<dyn LiveConnection>) -> Handle {
        self.connections.borrow_mut().insert(connection)
    }

    fn unregister(&self, handle: Handle) {
        // Dropped after the borrow ends: its last reference may be this one.
        let _connection = self.connections.borrow_mut().remove(handle);
    }

    fn early_flight(&self, random: [u8; 32]) -> Flight {
        self.early_data.take(random)
    }

    fn begins(&self, handle: Handle, qconn: &mut QuicheConnection, peer: IpAddr) -> Weak<Buffer> {
        self.arms.meet(qconn.as_mut(), peer);
        let Some(qlog) = self.arms.qlog(peer) else {
            return Weak::new();
        };
        let buffer = Arc::downgrade(&qlog.buffer);
        qlog.attach(qconn, self.connection_id(handle));
        buffer
    }

    fn packets_per_key(&self) -> u64 {
        self.packets_per_key
    }

    fn established(&self, handle: Handle, mut facts: v1::Connection) {
        facts.id = self.connection_id(handle);
        self.records.offer(Kind::Established(facts));
    }

    fn hand_over(&self, shard: u8, incoming: Incoming) -> bool {
        let Some(ring) = self.sideways.get(usize::from(shard)) else {
            return false;
        };
        let Incoming {
            peer_addr,
            local_addr,
            rx_time,
            ref buf,
            gro,
            via,
        } = incoming;
        ring.try_send(Datagram {
            peer_addr,
            local_addr,
            rx_time,
            bytes: buf.to_vec(),
            gro,
            via,
        })
        .is_ok()
    }

    fn closed(&self, handle: Handle, mut record: v1::Connection) {
        record.id = self.connection_id(handle);
        self.records.offer(Kind::Closed(record));
    }
}
