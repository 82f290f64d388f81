//! Answers that need no connection: version negotiation, Retry and stateless reset. They
//! are written on the spot, never larger than three times what asked for them, and
//! limited in rate.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Instant, SystemTime},
};

use quiche::ConnectionId;

use super::Listener;
use crate::{
    quic::{
        cid::CID_LEN,
        incoming::Incoming,
        limit::{SharedBucket, TokenBucket},
        metrics::{DatagramDrop, Reply},
        relay::{Via, frame::Way},
        token,
    },
    snapshot::SecretKey,
};

/// The budgets of each kind.
pub(super) struct Replies {
    version_negotiation: SharedBucket,
    retry: TokenBucket,
    reset: SharedBucket,
}

impl Replies {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            version_negotiation: SharedBucket::new(500, 100, now),
            // A Retry costs one HMAC, and is what saves the handshakes of honest clients.
            retry: TokenBucket::new(20_000, 2_000, now),
            reset: SharedBucket::new(500, 100, now),
        }
    }

    fn allow(&mut self, reply: Reply, peer: IpAddr, now: Instant) -> bool {
        match reply {
            Reply::VersionNegotiation => self.version_negotiation.take(peer, now),
            Reply::Retry => self.retry.take(now),
            Reply::StatelessReset => self.reset.take(peer, now),
        }
    }
}

impl Listener {
    pub(super) fn negotiate_version(&self, incoming: &Incoming, dcid: &[u8], scid: &[u8]) {
        // quiche copies IDs of its own version's length only.
        if dcid.len() > quiche::MAX_CONN_ID_LEN || scid.len() > quiche::MAX_CONN_ID_LEN {
            return self.drop(DatagramDrop::Malformed);
        }
        let allowed = self.reply(Reply::VersionNegotiation, incoming, |room| {
            let (scid, dcid) = (ConnectionId::from_ref(scid), ConnectionId::from_ref(dcid));
            quiche::negotiate_version(&scid, &dcid, room).ok()
        });
        if !allowed {
            self.drop(DatagramDrop::RateLimited);
        }
    }

    pub(super) fn retry(
        &self,
        incoming: &Incoming,
        dcid: &[u8],
        scid: &[u8],
        key: &SecretKey,
        now: SystemTime,
    ) {
        let allowed = self.reply(Reply::Retry, incoming, |room| {
            let mut fresh = [0; RETRY_CID_LEN];
            boring::rand::rand_bytes(&mut fresh).ok()?;
            let token = token::seal_retry(key, incoming.peer_addr, dcid, &fresh, now);
            quiche::retry(
                &ConnectionId::from_ref(scid),
                &ConnectionId::from_ref(dcid),
                &ConnectionId::from_ref(&fresh),
                &token,
                quiche::PROTOCOL_VERSION,
                room,
            )
            .ok()
        });
        if !allowed {
            self.drop(DatagramDrop::RateLimited);
        }
    }

    /// Packets for a connection that is gone: its client is told (RFC 9000 10.3).
    pub(super) fn stale(&self, incoming: &Incoming) {
        self.drop_all(incoming, DatagramDrop::StaleConnection);
        let size = incoming.gro.map_or(incoming.buf.len(), usize::from);
        let short = incoming.buf.first().is_some_and(|first| first & 0x80 == 0);
        let Some(cid) = incoming.buf.get(1..1 + CID_LEN).filter(|_| short) else {
            return;
        };
        let keys = self.endpoint.keys.borrow().clone();
        let Some(packet) = token::stateless_reset(keys.reset_token(cid), size) else {
            return;
        };
        // The packet is counted already, answered or not.
        let _throttled = self.reply(Reply::StatelessReset, incoming, |room| {
            room[..packet.len()].copy_from_slice(&packet);
            Some(packet.len())
        });
    }

    /// Says whether the rate allows it.
    fn reply(
        &self,
        kind: Reply,
        incoming: &Incoming,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> bool {
        let metrics = self.endpoint.host.metrics();
        let peer = incoming.peer_addr.ip();
        if !self.replies.borrow_mut().allow(kind, peer, Instant::now()) {
            return false;
        }
        if let Some(via) = incoming.via {
            self.reply_through(via, kind, incoming.peer_addr, write);
            return true;
        }
        let Some(socket) = self.endpoint.socket(incoming.local_addr) else {
            self.drop(DatagramDrop::SendFull);
            return true;
        };
        socket.transmit(|egress| {
            let Some(room) = egress.room() else {
                return self.drop(DatagramDrop::SendFull);
            };
            match write(room) {
                Some(len) => {
                    egress.push(len, incoming.local_addr, incoming.peer_addr);
                    metrics.reply_sent(kind);
                }
                None => self.drop(DatagramDrop::Malformed),
            }
        });
        true
    }
}

impl Listener {
    /// The data plane that the client reaches sends it on.
    fn reply_through(
        &self,
        via: Via,
        kind: Reply,
        client: SocketAddr,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) {
        let mut datagram = [0; 256];
        let Some(len) = write(&mut datagram) else {
            return self.drop(DatagramDrop::Malformed);
        };
        let metrics = self.endpoint.host.metrics();
        self.endpoint.tables.relay.send(
            via.relay,
            Way::ToClient,
            client,
            via.local,
            &datagram[..len],
            metrics,
        );
        metrics.reply_sent(kind);
    }
}

/// What a client calls us after a Retry: as short as RFC 9000 7.2 lets clients choose,
/// because the transport parameters repeat it and have little room.
const RETRY_CID_LEN: usize = 8;
