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

/// In the order in which the client left them; never more than quiche has paths.
#[derive(Default)]
pub(super) struct Former {
    addresses: Vec<SocketAddr>,
    repeated: u32,
}

impl Former {
    /// The client's address changed, and the new one is validated.
    pub(super) fn migrated(
        &mut self,
        qconn: &mut QuicheConnection,
        local: SocketAddr,
        from: SocketAddr,
        to: SocketAddr,
    ) {
        self.addresses
            .retain(|former| *former != to && *former != from);
        if from != to {
            self.addresses.push(from);
        }
        // The ones before are asked once more: their probe may have gone to an address that
        // the client has left since.
        for former in self.addresses.iter().rev().take(PROBED) {
            // A path that is gone already has nothing in flight.
            let _gone = qconn.probe_path(local, *former);
        }
    }

    /// quiche gave up on a path. If the client has left it, its probes were lost, and what
    /// was in flight there still waits.
    pub(super) fn failed(
        &mut self,
        qconn: &mut QuicheConnection,
        local: SocketAddr,
        peer: SocketAddr,
    ) {
        if self.has(peer) && self.repeated < MAX_REPEATED {
            self.repeated += 1;
            let _gone = qconn.probe_path(local, peer);
        }
    }

    /// Whether the client has left this address.
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// Where a packet to `to` can reach the client, which is at `current` now.
    pub(super) fn reachable(&self, to: SocketAddr, current: SocketAddr) -> SocketAddr {
        if self.has(to) { current } else { to }
    }
}

/// Former paths that are probed after a move.
const PROBED: usize = 3;
/// Probes that are repeated in the life of a connection.
const MAX_REPEATED: u32 = 64;
