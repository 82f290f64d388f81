//! How much of a shard's time handshakes may take while others want some of it. Pure: the
//! time is an argument.

use std::time::{Duration, Instant};

/// Time that handshakes may take, which grows as time passes.
#[derive(Debug)]
pub(super) struct Budget {
    /// Nanoseconds; what was taken beyond it is owed.
    credit: i64,
    last: Instant,
}

impl Budget {
    /// A whole one.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            credit: MOST,
            last: now,
        }
    }

    /// Whether handshakes have time of their own now.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.last);
        let earned = passed.min(WINDOW).as_nanos() as i64 / SHARE;
        self.last = self.last.max(now);
        self.credit = (self.credit + earned).min(MOST);
        self.credit > 0
    }

    /// A handshake took this long.
    pub(super) fn spend(&mut self, took: Duration) {
        // What nobody else wanted is not owed for ever.
        let took = i64::try_from(took.as_nanos()).unwrap_or(i64::MAX);
        self.credit = self.credit.saturating_sub(took).max(-MOST);
    }
}

/// Handshakes get one part in so many.
const SHARE: i64 = 2;
/// Over which the share holds: nobody else waits for longer than half of it.
const WINDOW: Duration = Duration::from_millis(10);
const MOST: i64 = WINDOW.as_nanos() as i64 / SHARE;

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_micros(300);

    /// Handshakes of `STEP` in `time`, asked for as often as the budget can say yes.
    fn served(budget: &mut Budget, from: Instant, time: Duration) -> u32 {
        let (mut now, mut served) = (from, 0);
        while now < from + time {
            if budget.allows(now) {
                budget.spend(STEP);
                served += 1;
                now += STEP;
            } else {
                now += STEP / 10;
            }
        }
        served
    }

    #[test]
    fn handshakes_take_half_of_the_time() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let served = served(&mut Budget::new(start), start, second) * STEP;
        let (half, slack) = (second / 2, WINDOW);
        assert!(served > half - slack && served < half + slack, "{served:?}");
    }

    #[test]
    fn no_window_has_much_more_than_its_share() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        for window in 0..20 {
            let begin = start + window * WINDOW;
            let served = served(&mut budget, begin, WINDOW) * STEP;
            // The first begins with what was saved, and the last step may go beyond.
            let most = if window == 0 { WINDOW } else { WINDOW / 2 } + 2 * STEP;
            assert!(served <= most, "{window}: {served:?}");
        }
    }

    #[test]
    fn what_was_taken_while_nobody_else_wanted_it_is_owed_for_a_window() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        budget.spend(Duration::from_secs(60));
        assert!(!budget.allows(start + WINDOW / 2));
        assert!(budget.allows(start + WINDOW * 2));
    }

    #[test]
    fn a_clock_that_stands_still_gives_nothing() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        budget.spend(WINDOW / 2);
        assert!(!budget.allows(start));
        assert!(budget.allows(start + Duration::from_millis(1)));
        assert!(budget.allows(start), "nor does it take any");
    }
}
