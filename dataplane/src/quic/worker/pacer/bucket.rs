//! A bucket of bytes that may leave, which fills at the rate of the congestion window.

use std::time::{Duration, Instant};

/// How much may leave now. Asked for nothing while there is something in it.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Below zero by the part of a datagram that was not in it.
    bytes: i64,
    /// Absent: never, so that the first time makes it full.
    filled: Option<Instant>,
    limits: Limits,
}

/// What configuration says of pacing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes per second.
    pub(super) max_rate: Option<u64>,
    /// Datagrams.
    pub(super) initial_window: u64,
}

/// What congestion control allows on the path.
pub(super) struct Window {
    pub(super) bytes: u64,
    /// Bytes of a full datagram.
    pub(super) datagram: u64,
    /// Absent: not known yet, or so short that timers cannot divide it.
    pub(super) rtt: Option<Duration>,
    pub(super) slow_start: bool,
}

impl Bucket {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            bytes: 0,
            filled: None,
            limits,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes <= 0
    }

    /// Takes a datagram out. What is as small as acknowledgments are makes no queue.
    pub(super) fn take(&mut self, bytes: usize) {
        if bytes > SMALL {
            self.bytes -= bytes as i64;
        }
    }

    /// Puts in what has come since the last time. If that is too little to be worth a
    /// turn, says when it will be enough.
    pub(super) fn fill(&mut self, window: &Window, now: Instant) -> Option<Instant> {
        let filled = self.filled.replace(now);
        let Some(rate) = self.rate(window) else {
            self.bytes = self.bytes.max(window.bytes as i64);
            return None;
        };
        let enough = bytes(rate, TURN).min(CHUNK * window.datagram).max(1);
        // After a pause an initial window may leave at once (RFC 9002 7.7); and no rate is lost by
        // timers that are late.
        let initial = self.limits.initial_window * window.datagram;
        let most = initial.max(enough + bytes(rate, LATE)) as i64;
        let come = filled.map_or(most, |filled| {
            bytes(rate, now.saturating_duration_since(filled)) as i64
        });
        self.bytes = (self.bytes + come).min(most);
        let enough = enough as i64;
        if self.bytes >= enough {
            return None;
        }
        let missing = (enough - self.bytes + 1) as f64;
        Some(now + Duration::from_secs_f64(missing / rate as f64))
    }

    /// Bytes per second: a little more than the window in a round trip, so that pacing is
    /// never what limits the connection. None: as fast as can be.
    fn rate(&self, window: &Window) -> Option<u64> {
        let own = window.rtt.map(|rtt| {
            let times = if window.slow_start { 2.0 } else { 1.25 };
            let in_round = window.bytes as f64 * times;
            let least = window.datagram as f64 / SLOWEST.as_secs_f64();
            (in_round / rtt.as_secs_f64()).max(least).max(1.0) as u64
        });
        own.into_iter().chain(self.limits.max_rate).min()
    }
}

/// What comes at this rate in this time.
fn bytes(rate: u64, time: Duration) -> u64 {
    ((rate as f64 * time.as_secs_f64()) as u64).min(MOST)
}

/// Datagrams that are worth a turn: together they are cheaper to send.
const CHUNK: u64 = 8;
/// The longest that they are waited for.
const TURN: Duration = Duration::from_millis(6);
const LATE: Duration = Duration::from_millis(3);
/// At the least a datagram in this time: small windows are limit enough.
const SLOWEST: Duration = Duration::from_millis(10);
/// Bytes of the longest datagram that is free.
const SMALL: usize = 200;
/// Keeps sums far from what overflows.
const MOST: u64 = 1 << 40;

#[cfg(test)]
mod tests;
