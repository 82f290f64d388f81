//! How long a soak takes, and how exact it can be.

use std::time::Duration;

/// How many minutes it takes.
pub(crate) const MINUTES: &str = "TIDEGATE_SOAK_MINUTES";
/// Long enough that as many connections end as begin before the second half.
const SHORT: Duration = Duration::from_secs(30);
/// From here on the number of connections is even over the quarters.
const LONG: Duration = Duration::from_secs(240);
const MEBIBYTE: u64 = 1 << 20;

pub(crate) struct Plan {
    pub(crate) length: Duration,
    /// After which the gateway gives silent connections up.
    pub(crate) idle_timeout: Duration,
    /// The part of a shard's core that is to be used.
    pub(crate) load: f64,
    /// Between two looks at the load.
    pub(crate) step: Duration,
    /// Between two looks at the memory.
    pub(crate) sample: Duration,
    /// What memory may grow by: a part of what it was, and so many bytes.
    pub(crate) growth: (f64, u64),
}

impl Plan {
    pub(crate) fn of_environment() -> Self {
        let Ok(minutes) = std::env::var(MINUTES) else {
            return Self::new(SHORT);
        };
        let minutes: f64 = minutes.parse().expect("minutes are a number");
        Self::new(Duration::from_secs_f64(minutes * 60.0).max(SHORT))
    }

    fn new(length: Duration) -> Self {
        let long = length >= LONG;
        Self {
            length,
            idle_timeout: Duration::from_secs(if long { 10 } else { 6 }),
            // The short version has no time to find out what a busy machine can bear.
            load: if long { 0.5 } else { 0.25 },
            step: (length / 20).min(Duration::from_secs(10)),
            sample: (length / 100).min(Duration::from_secs(2)),
            growth: if long {
                (0.05, 4 * MEBIBYTE)
            } else {
                (0.15, 16 * MEBIBYTE)
            },
        }
    }

    /// Until then the load is found.
    pub(crate) fn warm_up(&self) -> Duration {
        self.length / 4
    }
}
