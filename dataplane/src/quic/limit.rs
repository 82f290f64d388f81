//! Limits the rate of what costs its sender nothing.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::Instant,
};

use super::half_open::prefix;

/// A token bucket. It is asked with the time, and keeps none of its own.
#[derive(Debug)]
pub struct TokenBucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    last: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self {
            per_second: per_second.into(),
            burst: burst.into(),
            tokens: burst.into(),
            last: now,
        }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let refill = now.saturating_duration_since(self.last).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + refill).min(self.burst);
        self.last = now;
        let any = self.tokens >= 1.0;
        if any {
            self.tokens -= 1.0;
        }
        any
    }

    /// Puts one back.
    pub fn give(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.burst);
    }
}

/// A bucket for all, and within it smaller ones for their networks, so that one of them does
/// not use up what all have. Which networks share one is nobody's to choose.
#[derive(Debug)]
pub(crate) struct SharedBucket {
    all: TokenBucket,
    each: Vec<TokenBucket>,
    hasher: RandomState,
}

impl SharedBucket {
    /// Full buckets.
    pub(crate) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let each = || TokenBucket::new(per_second / PART, burst / PART, now);
        Self {
            all: TokenBucket::new(per_second, burst, now),
            each: (0..NETWORKS).map(|_| each()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Takes a token for `peer`, if there is one for its network.
    pub(crate) fn take(&mut self, peer: IpAddr, now: Instant) -> bool {
        let place = self.hasher.hash_one(prefix(peer)) as usize % NETWORKS;
        self.each[place].take(now) && self.all.take(now)
    }
}

/// What a network can have of all.
const PART: u32 = 5;
const NETWORKS: usize = 64;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_followed_by_the_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10, 3, start);
        assert_eq!((0..5).filter(|_| bucket.take(start)).count(), 3);
        let later = start + Duration::from_millis(200);
        assert_eq!((0..5).filter(|_| bucket.take(later)).count(), 2);
        let much_later = start + Duration::from_secs(3600);
        assert_eq!((0..5).filter(|_| bucket.take(much_later)).count(), 3);
    }

    #[test]
    fn one_network_leaves_something_for_others() {
        let start = Instant::now();
        let mut bucket = SharedBucket::new(500, 100, start);
        let mut taken = |network: u8| {
            let peer = |host: u8| IpAddr::from([192, 0, network, host]);
            let took = |host: &u8| bucket.take(peer(*host), start);
            (0..=255).filter(took).count()
        };
        assert_eq!(taken(0), 20, "whichever of its addresses asks");
        let others: usize = (1..=255).map(taken).sum();
        assert_eq!(others, 80, "and all together have no more than there is");
    }
}
