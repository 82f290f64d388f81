//! The wall clock, for what is written down. Waiting uses tokio's clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// UNIX milliseconds now; 0 on a machine whose clock stands before 1970.
pub(crate) fn unix_millis() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}
