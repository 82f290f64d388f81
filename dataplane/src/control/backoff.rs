//! How long to wait before the next attempt.

use std::time::Duration;

use rand::{Rng, RngExt as _};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Doubles from 100 ms to 5 s, with up to half of it taken away at random, so that the
/// data planes of a fleet do not come back all at once.
#[derive(Debug)]
pub struct Backoff {
    ceiling: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { ceiling: FIRST }
    }
}

impl Backoff {
    /// Time until the next attempt.
    pub fn next(&mut self, rng: &mut impl Rng) -> Duration {
        let wait = self.ceiling.mul_f64(rng.random_range(0.5..=1.0));
        self.ceiling = (self.ceiling * 2).min(LONGEST);
        wait
    }

    /// After a success: begins anew.
    pub fn reset(&mut self) {
        self.ceiling = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn waits_grow_to_five_seconds_and_begin_anew_after_a_success() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut backoff = Backoff::default();
        for ceiling in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let wait = backoff.next(&mut rng).as_millis();
            assert!(
                (ceiling / 2..=ceiling).contains(&wait),
                "{wait} of {ceiling}"
            );
        }
        backoff.reset();
        assert!(backoff.next(&mut rng) <= FIRST);
    }
}
