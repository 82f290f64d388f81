//! How large datagrams may be on the way to the client.
//!
//! quiche discovers that on a connection's first path, where it is told to (RFC 8899). What it
//! does not do is here: to notice that what was large enough once is too large now, and to be
//! careful on further paths.

use std::time::Duration;

use quiche::PathStats;

use crate::{quic::QuicheConnection, snapshot::QuicTransport};

/// Of one connection.
#[derive(Default)]
pub(super) struct Mtu {
    /// What discovery found so far. Absent: it is off.
    found: Option<usize>,
    /// Bytes of the largest datagram that is tried, if not all are.
    limit: Option<usize>,
    /// A path is being validated, with datagrams that quiche makes as long as they may be.
    validating: bool,
    before: Progress,
}

/// How a path has fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    /// Probe time-outs.
    timeouts: usize,
    /// Of the round trip; they change with every acknowledgment.
    estimates: (Duration, Duration),
    /// Packets.
    sent: usize,
    /// Packets.
    lost: usize,
}

/// What to do about datagrams that do not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspicion {
    None,
    /// Discovery has to begin anew.
    Discover,
    /// No large ones are sent any more.
    Shrink,
}

impl Mtu {
    /// The handshake is complete.
    pub(super) fn begin(&mut self, transport: &QuicTransport) {
        self.found = transport.path_mtu_discovery.then_some(LEAST);
    }

    /// Discovery has got so far.
    pub(super) fn found(&mut self, size: usize) {
        self.found = Some(size);
    }

    /// Bytes of the largest datagram that may be made, if not any may.
    pub(super) fn limit(&self) -> Option<usize> {
        match self.validating {
            true => Some(LEAST),
            false => self.limit,
        }
    }

    /// Packets came from another address, or what was asked there is answered or given up. A
    /// path is to be found good whatever it carries (RFC 9000 8.2.1).
    pub(super) fn validating(&mut self, validating: bool) {
        self.validating = validating;
    }

    /// Whether a datagram is larger than what is known to arrive.
    pub(super) fn is_probe(&self, bytes: usize) -> bool {
        self.found.is_some_and(|found| bytes > found)
    }

    /// The client is on another path, on which quiche does not discover anything.
    pub(super) fn migrated(&mut self) {
        self.validating = false;
        self.before = Progress::default();
        self.limit = self.found.map(|_| LEAST);
    }

    /// A timer of quiche's has fired.
    pub(super) fn look_after(&mut self, qconn: &mut QuicheConnection) {
        let Some(path) = qconn.path_stats().find(|path| path.active) else {
            return;
        };
        if self.judge(Progress::of(&path)) == Suspicion::Discover {
            qconn.revalidate_pmtu();
        }
    }

    /// Probe time-outs while nothing is acknowledged, or while most of what was sent is lost,
    /// may mean that what is large vanishes (RFC 8899 4.3).
    fn judge(&mut self, now: Progress) -> Suspicion {
        let Progress {
            timeouts,
            estimates,
            sent,
            lost,
        } = self.before;
        if now.timeouts < timeouts + BLACK_HOLE {
            return Suspicion::None;
        }
        self.before = now;
        let (sent, lost) = (now.sent.saturating_sub(sent), now.lost.saturating_sub(lost));
        if now.estimates != estimates && 2 * lost < sent {
            return Suspicion::None;
        }
        match (self.limit, self.found) {
            (None, None) => {
                self.limit = Some(LEAST);
                Suspicion::Shrink
            }
            (None, Some(found)) if found > LEAST => Suspicion::Discover,
            _ => Suspicion::None,
        }
    }
}

impl Progress {
    fn of(path: &PathStats) -> Self {
        Self {
            timeouts: path.total_pto_count,
            estimates: (path.rtt, path.rttvar),
            sent: path.sent,
            lost: path.lost,
        }
    }
}

/// What every path of QUIC carries (RFC 9000 14).
const LEAST: usize = 1_200;
/// Probe time-outs.
const BLACK_HOLE: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn discovering() -> Mtu {
        let mut mtu = Mtu::default();
        mtu.begin(&QuicTransport {
            path_mtu_discovery: true,
            ..QuicTransport::default()
        });
        mtu
    }

    /// After so many time-outs and acknowledgments.
    fn progress(timeouts: usize, acknowledgments: u64, sent: usize, lost: usize) -> Progress {
        let estimates = (Duration::from_millis(acknowledgments), Duration::ZERO);
        Progress {
            timeouts,
            estimates,
            sent,
            lost,
        }
    }

    fn silence(timeouts: usize) -> Progress {
        progress(timeouts, 0, 0, 0)
    }

    #[test]
    fn time_outs_in_a_silence_make_datagrams_small() {
        let mut mtu = Mtu::default();
        let judged = [1, 2, 3].map(|timeouts| mtu.judge(silence(timeouts)));
        assert_eq!(
            judged,
            [Suspicion::None, Suspicion::None, Suspicion::Shrink]
        );
        assert_eq!(mtu.limit(), Some(LEAST));
        assert_eq!(mtu.judge(silence(20)), Suspicion::None, "once");
    }

    #[test]
    fn time_outs_while_only_small_datagrams_arrive_make_all_small() {
        let mut mtu = Mtu::default();
        for (timeouts, expected) in [(2, Suspicion::None), (3, Suspicion::Shrink)] {
            let progress = progress(timeouts, timeouts as u64, 3 * timeouts, 2 * timeouts);
            assert_eq!(mtu.judge(progress), expected);
        }
    }

    #[test]
    fn time_outs_between_acknowledgments_are_mere_losses() {
        let mut mtu = Mtu::default();
        for turn in 1..100 {
            let progress = progress(2 * turn, turn as u64, 30 * turn, 9 * turn);
            assert_eq!(mtu.judge(progress), Suspicion::None);
        }
        assert_eq!(mtu.limit(), None);
    }

    #[test]
    fn where_it_was_discovered_it_is_discovered_again() {
        let mut mtu = discovering();
        assert!(mtu.is_probe(LEAST + 1) && !mtu.is_probe(LEAST));
        let judged = mtu.judge(silence(3));
        assert_eq!(judged, Suspicion::None, "it is at the least already");
        mtu.found(1_400);
        assert!(!mtu.is_probe(1_400));
        assert_eq!(mtu.judge(silence(5)), Suspicion::None);
        assert_eq!(mtu.judge(silence(6)), Suspicion::Discover);
        assert_eq!(mtu.limit(), None);
    }

    #[test]
    fn after_a_move_what_was_discovered_is_not_relied_upon() {
        let mut mtu = Mtu::default();
        mtu.migrated();
        assert_eq!(mtu.limit(), None, "nothing was discovered");
        let mut mtu = discovering();
        mtu.migrated();
        assert_eq!(mtu.limit(), Some(LEAST));
    }

    #[test]
    fn a_path_is_validated_with_what_every_path_carries() {
        let mut mtu = Mtu::default();
        mtu.validating(true);
        assert_eq!(mtu.limit(), Some(LEAST));
        mtu.validating(false);
        assert_eq!(mtu.limit(), None);
        mtu.validating(true);
        mtu.migrated();
        assert_eq!(mtu.limit(), None);
    }

    #[test]
    fn a_move_gives_a_path_that_lost_all_another_chance() {
        let mut mtu = Mtu::default();
        mtu.judge(silence(3));
        assert_eq!(mtu.limit(), Some(LEAST));
        mtu.migrated();
        assert_eq!(mtu.limit(), None);
    }
}
