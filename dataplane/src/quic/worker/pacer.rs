//! When a connection may send more.
//!
//! A window that leaves at once makes queues in the network, and losses (RFC 9002 7.7). So no
//! more is taken out of quiche than may leave now, and the worker's timer brings back the rest.
//! When that is, quiche says itself for BBR2, packet by packet. The others it does not pace: for
//! those there is a [`Bucket`]. Neither holds a packet back for longer than clients wait for an
//! acknowledgment, which may be in it.

mod bucket;

use std::time::{Duration, Instant};

use self::bucket::{Bucket, Limits, Window};
use crate::{quic::QuicheConnection, snapshot::QuicTransport};

/// Paces one connection.
#[derive(Default)]
pub(super) struct Pacer {
    /// quiche's release times count, and the last datagram left then.
    release: Option<Instant>,
    bucket: Option<Bucket>,
    held: Option<Instant>,
}

impl Pacer {
    /// Paces what comes after the handshake. What a handshake sends is little, and limited
    /// otherwise.
    pub(super) fn begin(
        &mut self,
        qconn: &QuicheConnection,
        transport: &QuicTransport,
        now: Instant,
    ) {
        if !qconn.pacing_enabled() {
            return;
        }
        let by_release = qconn.gcongestion_enabled() == Some(true);
        self.release = by_release.then_some(now);
        let limits = Limits {
            max_rate: transport.max_pacing_rate,
            initial_window: transport.initial_congestion_window as u64,
        };
        // Whenever all is acknowledged, quiche lets some packets through at any rate.
        let limited = !by_release || limits.max_rate.is_some();
        self.bucket = limited.then(|| Bucket::new(limits));
    }

    /// Whether a datagram may leave now.
    pub(super) fn allows(&mut self, qconn: &QuicheConnection) -> bool {
        let empty = self.bucket.as_ref().is_some_and(Bucket::is_empty);
        if self.release.is_none() && !empty && self.held.is_none() {
            return true;
        }
        let now = Instant::now();
        if self.held.is_some_and(|held| now < held) {
            return false;
        }
        self.held = match &mut self.bucket {
            Some(bucket) if empty => window(qconn).and_then(|window| {
                let rtt = window.rtt.filter(|_| self.release.is_none());
                bucket.fill(&Window { rtt, ..window }, now)
            }),
            _ => None,
        };
        if let (Some(last), None) = (self.release, self.held) {
            self.held = release(qconn, last, now);
        }
        if self.held.is_none() && self.release.is_some() {
            self.release = Some(now);
        }
        self.held.is_none()
    }

    /// A datagram of this many bytes leaves.
    pub(super) fn sent(&mut self, bytes: usize) {
        if let Some(bucket) = &mut self.bucket {
            bucket.take(bytes);
        }
    }

    /// When to ask again, if a datagram was held back.
    pub(super) fn held(&self) -> Option<Instant> {
        self.held
    }

    /// The timer has fired.
    pub(super) fn wake(&mut self) {
        self.held = None;
    }
}

/// Until when to hold the next packet, by quiche's release time.
fn release(qconn: &QuicheConnection, last: Instant, now: Instant) -> Option<Instant> {
    let decision = qconn.get_next_release_time()?;
    let due = decision.time(now).filter(|_| !decision.can_burst())?;
    let held = until(due, last, now)?;
    // Round trips that are too short for timers are not divided.
    window(qconn)?.rtt.map(|_| held)
}

/// Until when to hold a packet that is due then. What is due soon leaves at once: quiche counts
/// on from when it was due, so that on the average the rate is kept.
fn until(due: Instant, last: Instant, now: Instant) -> Option<Instant> {
    if due <= now + AHEAD {
        return None;
    }
    let until = (due - TICK).min(last + LONGEST);
    Some(until).filter(|until| now < *until)
}

fn window(qconn: &QuicheConnection) -> Option<Window> {
    let path = qconn.path_stats().find(|path| path.active)?;
    Some(Window {
        bytes: path.cwnd as u64,
        datagram: path.pmtu as u64,
        rtt: path.min_rtt.filter(|min| *min >= TICK).map(|_| path.rtt),
        slow_start: path.startup_exit.is_none(),
    })
}

/// How early packets leave, so that a timer that is late costs no rate.
const AHEAD: Duration = Duration::from_millis(2);
/// What the runtime's timers are good for.
const TICK: Duration = Duration::from_millis(1);
/// Nothing waits longer, however low the rate: less than the 25 ms that an acknowledgment may
/// take (RFC 9000 18.2).
const LONGEST: Duration = Duration::from_millis(16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_leave_when_they_are_due_or_shortly_before() {
        let now = Instant::now();
        let held = |due| until(now + Duration::from_micros(due), now, now);
        assert_eq!(held(0), None);
        assert_eq!(held(2_000), None);
        assert_eq!(held(2_001), Some(now + Duration::from_micros(1_001)));
        assert_eq!(held(9_000), Some(now + Duration::from_micros(8_000)));
    }

    #[test]
    fn no_packet_waits_longer_than_an_acknowledgment_may() {
        let now = Instant::now();
        let due = now + Duration::from_secs(1);
        assert_eq!(until(due, now, now), Some(now + LONGEST));
        assert_eq!(until(due, now, now + LONGEST), None);
    }
}
