//! Addresses that a client has left, and what was on its way to them.
//!
//! quiche keeps loss recovery for each path. What was in flight to the old address when the
//! client moved is never acknowledged, and nothing that is sent later on that path could
//! show it to be lost: only its probe time-outs move a packet's worth at a time, each
//! waiting twice as long as the one before. So after a move the old path is probed, and
//! what quiche sends on it goes to the client's validated address. The acknowledgement of
//! that probe shows everything before it to be lost, and it is sent again at once.

use std::net::SocketAddr;

use crate::quic::QuicheConnection;

/// Never more than quiche has paths.
#[derive(Default)]
pub(super) struct Former(Vec<SocketAddr>);

impl Former {
    /// The client's address changed, and the new one is validated.
    pub(super) fn migrated(
        &mut self,
        qconn: &mut QuicheConnection,
        local: SocketAddr,
        from: SocketAddr,
        to: SocketAddr,
    ) {
        self.0.retain(|former| *former != to);
        if from != to && !self.0.contains(&from) {
            self.0.push(from);
        }
        // A path that is gone already has nothing in flight.
        let _gone = qconn.probe_path(local, from);
    }

    /// Where a packet to `to` can reach the client, which is at `current` now.
    pub(super) fn reachable(&self, to: SocketAddr, current: SocketAddr) -> SocketAddr {
        if self.0.contains(&to) { current } else { to }
    }
}
