//! Adaptive Retry: when clients have to prove their addresses first.
//!
//! A flood from invented addresses leaves half-open handshakes behind. Once it is asked for
//! Retry tokens it leaves none, and yet it goes on: so a Retry that is not answered counts as
//! the handshake that it saved, for as long as its token is good. What is counted is the same
//! with Retry on and off, and between the two thresholds nothing changes.

use std::time::{Duration, SystemTime};

use crate::quic::token::RETRY_LIFETIME;

/// Whether Retry is on, and the Retries that wait for an answer, by the second that they
/// were sent in.
#[derive(Default)]
pub(super) struct Pressure {
    on: bool,
    unanswered: [usize; SECONDS],
    /// The last one that has a place, since the epoch.
    second: u64,
}

impl Pressure {
    /// Whether clients have to prove their addresses, with so many handshakes half open.
    pub(super) fn wants_retry(&mut self, half_open: usize, now: SystemTime) -> bool {
        self.turn_to(now);
        let count = half_open + self.unanswered.iter().sum::<usize>();
        self.on = match self.on {
            true => count > RETRY_UNTIL,
            false => count >= RETRY_FROM,
        };
        self.on
    }

    /// A client was asked.
    pub(super) fn asked(&mut self, now: SystemTime) {
        self.turn_to(now);
        self.unanswered[place(self.second)] += 1;
    }

    /// A token came back that was made then.
    pub(super) fn answered(&mut self, made: SystemTime, now: SystemTime) {
        self.turn_to(now);
        let made = second(made);
        if made <= self.second && self.second - made < SECONDS as u64 {
            let place = &mut self.unanswered[place(made)];
            *place = place.saturating_sub(1);
        }
    }

    /// Forgets what is too old. A clock that goes back stands still here.
    fn turn_to(&mut self, now: SystemTime) {
        let now = second(now).max(self.second);
        let passed = (now - self.second).min(SECONDS as u64);
        for second in now - passed + 1..=now {
            self.unanswered[place(second)] = 0;
        }
        self.second = now;
    }
}

fn second(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}

fn place(second: u64) -> usize {
    (second % SECONDS as u64) as usize
}

/// The lifetime of a token touches one second more than it has.
const SECONDS: usize = RETRY_LIFETIME.as_secs() as usize + 1;
/// Handshakes of a shard, half open or saved by a Retry, from which on it is on: what a shard
/// has with round trips of 50 ms when it can do no more.
pub(super) const RETRY_FROM: usize = 256;
/// And down to which it stays on.
pub(super) const RETRY_UNTIL: usize = 128;

#[cfg(test)]
impl Pressure {
    pub(super) fn unanswered(&self) -> usize {
        self.unanswered.iter().sum()
    }
}
