//! The connection IDs that a client has: as many as it takes, all of the key in use.
//!
//! After a rotation those of keys before are replaced, because in time nobody reads them any
//! more: the client is told to retire the oldest for each new one (RFC 9000 5.1.2).

use std::cmp;

use crate::{
    quic::{QuicheConnection, cid::Cid, shared::Shared},
    tls::ACTIVE_CONNECTION_IDS,
};

pub(super) struct Ids {
    nonce: u64,
    /// Of the key that all of them are of.
    key: u8,
}

impl Ids {
    /// Begins with the first one, and the nonce that made it.
    pub(super) fn new(nonce: u64, first: &Cid) -> Self {
        Self {
            nonce,
            key: key_of(first),
        }
    }

    /// Gives the client those that it has room for.
    pub(super) fn supply(&mut self, shared: &Shared, qconn: &mut QuicheConnection) {
        while qconn.scids_left() > 0 && self.issue(shared, qconn, false) {}
        let key = shared.endpoint.keys.borrow().cids.making();
        if key != self.key {
            self.replace(shared, qconn, key);
        }
    }

    /// As many at a time as quiche keeps beside those that are not yet retired.
    fn replace(&mut self, shared: &Shared, qconn: &mut QuicheConnection, key: u8) {
        let Some(params) = qconn.peer_transport_params() else {
            return;
        };
        let limit = cmp::min(params.active_conn_id_limit, ACTIVE_CONNECTION_IDS) as usize;
        if qconn.active_scids() > limit {
            // The client has yet to retire some.
            return;
        }
        let before = qconn.source_ids().filter(|id| key_of(id) != key).count();
        if before == 0 {
            self.key = key;
        }
        for _ in 0..before.min(limit.saturating_sub(1)) {
            if !self.issue(shared, qconn, true) {
                break;
            }
        }
    }

    fn issue(&mut self, shared: &Shared, qconn: &mut QuicheConnection, in_place: bool) -> bool {
        self.nonce += 1;
        let (cid, reset) = shared.endpoint.new_connection_id(shared.handle, self.nonce);
        let cid = quiche::ConnectionId::from_ref(&cid);
        qconn.new_scid(&cid, reset, in_place).is_ok()
    }
}

/// The three bits of the octet in front that name it.
fn key_of(cid: &[u8]) -> u8 {
    cid.first().map_or(0, |octet| octet >> 5)
}
