//! The answer to a ClientHello, sent again when the client repeats it.
//!
//! A client that repeats its ClientHello has no answer yet (RFC 9002 6.2.3). quiche only
//! acknowledges the copy and leaves the answer to its own probe time-outs, which are seconds
//! apart when packets were lost before. Datagrams may arrive twice at any rate, so the same
//! ones go out again.

use std::time::{Duration, Instant};

use crate::quic::QuicheConnection;

/// Copies of what first went out after the ClientHello was read.
#[derive(Default)]
pub(super) struct FirstFlight {
    datagrams: Vec<Vec<u8>>,
    stage: Stage,
}

#[derive(Default)]
enum Stage {
    /// There is no answer yet.
    #[default]
    Before,
    /// The answer goes out.
    Gathering,
    /// It went out then.
    Sent(Instant),
}

impl FirstFlight {
    /// The ClientHello may have been read.
    pub(super) fn begin(&mut self, qconn: &QuicheConnection) {
        if matches!(self.stage, Stage::Before) && qconn.peer_transport_params().is_some() {
            self.stage = Stage::Gathering;
        }
    }

    /// A datagram leaves.
    pub(super) fn keep(&mut self, datagram: &[u8]) {
        if matches!(self.stage, Stage::Gathering) && self.datagrams.len() < MOST_DATAGRAMS {
            self.datagrams.push(datagram.to_vec());
        }
    }

    /// For now, no more leaves.
    pub(super) fn sent(&mut self, now: Instant) {
        if matches!(self.stage, Stage::Gathering) && !self.datagrams.is_empty() {
            self.stage = Stage::Sent(now);
        }
    }

    /// Packets of the client were read: what to send again, if it shows no sign that any of
    /// it arrived.
    pub(super) fn again(&mut self, qconn: &QuicheConnection, now: Instant) -> &[Vec<u8>] {
        let Stage::Sent(last) = self.stage else {
            return &[];
        };
        // Nothing was ever acknowledged. The parts of a ClientHello come close together.
        let lost = qconn.path_stats().all(|path| path.min_rtt.is_none());
        if !lost || now < last + SHORTEST {
            return &[];
        }
        self.stage = Stage::Sent(now);
        &self.datagrams
    }
}

/// What three datagrams of a client let through before its address is validated.
const MOST_DATAGRAMS: usize = 9;
/// Clients repeat theirs after a second (RFC 9002 6.2.2), or sooner if they know the way.
const SHORTEST: Duration = Duration::from_millis(50);
