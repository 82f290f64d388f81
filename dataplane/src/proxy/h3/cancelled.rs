//! Requests that clients take back. Each has made work for an upstream that nobody wants any
//! more, and costs its client next to nothing (CVE-2023-44487): so a connection has a budget
//! of them, which grows again with time and with each request that is served to its end.

use std::time::Instant;

use crate::quic::TokenBucket;

pub(super) struct Cancelled(TokenBucket);

impl Cancelled {
    pub(super) fn new(now: Instant) -> Self {
        Self(TokenBucket::new(PER_SECOND, AT_ONCE, now))
    }

    /// One more was cancelled. Says whether the client may go on.
    pub(super) fn another(&mut self, now: Instant) -> bool {
        self.0.take(now)
    }

    /// One was served.
    pub(super) fn served(&mut self) {
        self.0.give();
    }
}

/// A page with that many pictures was left.
const AT_ONCE: u32 = 256;
const PER_SECOND: u32 = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn requests_that_are_served_pay_for_others() {
        let now = Instant::now();
        let mut cancelled = Cancelled::new(now);
        for _ in 0..10_000 {
            assert!(cancelled.another(now));
            cancelled.served();
        }
        let more = (0..10_000).filter(|_| cancelled.another(now)).count();
        assert_eq!(more, AT_ONCE as usize);
        let later = now + Duration::from_secs(1);
        let more = (0..10_000).filter(|_| cancelled.another(later)).count();
        assert_eq!(more, PER_SECOND as usize);
    }
}
