//! Who may send early data (0-RTT), and how often: once.
//!
//! An early flight can be recorded and sent again. Each instance therefore takes early data
//! only from clients whose tickets it made itself, since it started and under the transport
//! settings that it has now; and it remembers the flights that it took (RFC 8446 8.2) for as
//! long as BoringSSL finds their tickets' age plausible. A flight that is known, or for which
//! there is no room, waits for the end of its handshake, to which no copy comes.

use std::{
    collections::HashSet,
    mem,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use boring::sha::Sha256;

use crate::snapshot::QuicTransport;

/// One for all shards of a data plane, and a new one whenever it starts.
#[derive(Debug)]
pub struct EarlyData {
    instance: [u8; 16],
    register: Mutex<Register>,
}

/// What becomes of an early flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flight {
    /// Its requests may be served.
    New,
    /// It was here before.
    Replayed,
    /// There were so many that it could not be remembered.
    NoRoom,
}

impl Default for EarlyData {
    fn default() -> Self {
        Self {
            instance: rand::random(),
            register: Mutex::new(Register::new(Instant::now(), SystemTime::now())),
        }
    }
}

impl EarlyData {
    /// What tickets must have been made under: this instance, and the limits that clients
    /// remember with them (RFC 9000 7.4.1).
    pub(super) fn context(&self, transport: &QuicTransport) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(&self.instance);
        for limit in [
            transport.max_idle_timeout.as_millis() as u64,
            transport.initial_max_data,
            transport.initial_max_stream_data,
            transport.initial_max_streams_bidi,
            transport.active_migration.into(),
            transport.datagrams.into(),
        ] {
            hash.update(&limit.to_be_bytes());
        }
        hash.finish()
    }

    /// Remembers the early flight of a ClientHello whose ticket was found good. Its random
    /// stands for the whole of it, because the ticket's binder covers both.
    pub fn take(&self, random: [u8; 32]) -> Flight {
        let mut register = self.register.lock().unwrap_or_else(PoisonError::into_inner);
        register.take(random, Instant::now(), SystemTime::now(), MOST)
    }
}

/// Two generations, of which the older is forgotten when the newer is old enough.
#[derive(Debug)]
struct Register {
    now: HashSet<[u8; 32]>,
    before: HashSet<[u8; 32]>,
    since: (Instant, SystemTime),
}

impl Register {
    fn new(instant: Instant, time: SystemTime) -> Self {
        Self {
            now: HashSet::new(),
            before: HashSet::new(),
            since: (instant, time),
        }
    }

    fn take(
        &mut self,
        random: [u8; 32],
        instant: Instant,
        time: SystemTime,
        most: usize,
    ) -> Flight {
        let (begun, begun_at) = self.since;
        // The age of tickets goes by the clock on the wall, which may be set back.
        let on_the_wall = time.duration_since(begun_at).unwrap_or_default();
        if instant.saturating_duration_since(begun).min(on_the_wall) >= WINDOW {
            self.before = mem::take(&mut self.now);
            self.since = (instant, time);
        }
        if self.now.contains(&random) || self.before.contains(&random) {
            return Flight::Replayed;
        }
        if self.now.len() >= most {
            return Flight::NoRoom;
        }
        self.now.insert(random);
        Flight::New
    }
}

/// BoringSSL lets a client's idea of its ticket's age be a minute off, either way: a flight
/// that came a minute early is good for two.
const WINDOW: Duration = Duration::from_secs(150);
/// Flights of a generation: with both, at most 10 MiB.
const MOST: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flight_is_taken_once_while_its_ticket_is_good() {
        let (start, wall) = (Instant::now(), SystemTime::now());
        let mut register = Register::new(start, wall);
        let mut at = |seconds, random| {
            let after = Duration::from_secs(seconds);
            register.take([random; 32], start + after, wall + after, 2)
        };
        assert_eq!(at(149, 1), Flight::New);
        assert_eq!(at(149, 1), Flight::Replayed);
        assert_eq!(at(298, 1), Flight::Replayed, "two generations keep it");
        assert_eq!(at(298, 2), Flight::New);
        assert_eq!(at(298, 3), Flight::New);
        assert_eq!(at(447, 4), Flight::NoRoom);
        assert_eq!(at(448, 4), Flight::New);
        assert_eq!(at(460, 1), Flight::New, "its ticket is too old by now");
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_forgotten() {
        let (start, wall) = (Instant::now(), SystemTime::now());
        let mut register = Register::new(start, wall);
        assert_eq!(register.take([1; 32], start, wall, 9), Flight::New);
        for seconds in [200, 400, 600] {
            let later = start + Duration::from_secs(seconds);
            let earlier = wall - Duration::from_secs(3600);
            assert_eq!(register.take([1; 32], later, earlier, 9), Flight::Replayed);
        }
    }

    #[test]
    fn tickets_of_other_instances_and_settings_are_told_apart() {
        let (one, other) = (EarlyData::default(), EarlyData::default());
        let settings = QuicTransport::default();
        let smaller = QuicTransport {
            initial_max_data: 1000,
            ..settings.clone()
        };
        assert_eq!(one.context(&settings), one.context(&settings));
        assert_ne!(one.context(&settings), other.context(&settings));
        assert_ne!(one.context(&settings), one.context(&smaller));
    }
}
