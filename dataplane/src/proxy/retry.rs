//! Whether a request that failed is sent again, and when (GEP-1731).

use std::time::Duration;

use http::StatusCode;
use rand::RngExt as _;
use tokio::time::Instant;

use super::{failure::Failure, upstream::Tried};
use crate::route::Retry;

/// The attempts of one request.
pub(super) struct Attempts<'a> {
    retry: Option<&'a Retry>,
    made: u32,
    /// Endpoints that had one. The next goes elsewhere, if there is an elsewhere.
    pub(super) tried: Tried,
}

/// Another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Again {
    pub(super) after: Duration,
    /// For the metrics.
    pub(super) reason: &'static str,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(retry: Option<&'a Retry>) -> Self {
        Self {
            retry,
            made: 0,
            tried: Tried::new(),
        }
    }

    /// Whether there may be another one.
    pub(super) fn are_left(&self) -> bool {
        self.retry.is_some_and(|retry| self.made < retry.attempts)
    }

    /// What follows an attempt that ended so. `deadline`: of the whole request.
    pub(super) fn next(
        &mut self,
        outcome: Result<StatusCode, Failure>,
        deadline: Option<Instant>,
        rng: &mut (impl rand::Rng + ?Sized),
    ) -> Option<Again> {
        let retry = self.retry.filter(|_| self.are_left())?;
        let reason = match outcome {
            // RFC 8470 5.2: the client decides, once its handshake is complete.
            Ok(StatusCode::TOO_EARLY) => None,
            Ok(status) => retry.codes.contains(&status.as_u16()).then_some("status"),
            Err(Failure::Connect) => Some("connect"),
            Err(Failure::BackendTimeout) => Some("timeout"),
            Err(Failure::Upstream) => Some("reset"),
            Err(_) => None,
        }?;
        let after = pause(retry.backoff, self.made, rng);
        // A pause that takes what is left would turn an answer into a time-out.
        if deadline.is_some_and(|deadline| Instant::now() + after >= deadline) {
            return None;
        }
        self.made += 1;
        Some(Again { after, reason })
    }
}

/// Twice as long each time, and never the same for requests that failed together.
fn pause(least: Duration, made: u32, rng: &mut (impl rand::Rng + ?Sized)) -> Duration {
    let grown = least.saturating_mul(1 << made.min(16));
    let bounded = grown.min(LONGEST_GROWN.max(least));
    bounded.saturating_add(bounded.mul_f64(rng.random_range(0.0..0.25)))
}

/// Beyond it a pause is as long as the rule says, and no longer.
const LONGEST_GROWN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    fn retry(codes: &[u16], attempts: u32) -> Retry {
        Retry {
            codes: codes.into(),
            attempts,
            backoff: Duration::from_millis(25),
        }
    }

    fn status(code: u16) -> Result<StatusCode, Failure> {
        Ok(StatusCode::from_u16(code).expect("a status"))
    }

    #[tokio::test]
    async fn a_rule_says_after_what_and_how_often() {
        let mut rng = StdRng::seed_from_u64(1);
        let rows = [
            (status(500), Some("status")),
            (status(503), None),
            (status(200), None),
            (Err(Failure::Connect), Some("connect")),
            (Err(Failure::Upstream), Some("reset")),
            (Err(Failure::BackendTimeout), Some("timeout")),
            (Err(Failure::RequestTimeout), None),
            (Err(Failure::NoEndpoints), None),
            (Err(Failure::ClientGone), None),
            (Err(Failure::Malformed("")), None),
        ];
        let rule = retry(&[500, 502], 3);
        for (outcome, reason) in rows {
            let again = Attempts::new(Some(&rule)).next(outcome, None, &mut rng);
            assert_eq!(again.map(|again| again.reason), reason, "{outcome:?}");
            assert_eq!(Attempts::new(None).next(outcome, None, &mut rng), None);
        }
        let mut attempts = Attempts::new(Some(&rule));
        let further = std::iter::from_fn(|| attempts.next(status(500), None, &mut rng)).count();
        assert_eq!(further, 3);
    }

    #[tokio::test]
    async fn pauses_grow_and_end_before_the_deadline() {
        let mut rng = StdRng::seed_from_u64(1);
        let rule = retry(&[500], 10);
        let mut attempts = Attempts::new(Some(&rule));
        for made in 0..10 {
            let least = Duration::from_millis(25 << made).min(LONGEST_GROWN);
            let again = attempts.next(status(500), None, &mut rng).expect("another");
            assert!(again.after >= least && again.after < least * 2, "{again:?}");
        }
        let soon = Some(Instant::now() + Duration::from_millis(20));
        let next = Attempts::new(Some(&rule)).next(status(500), soon, &mut rng);
        assert_eq!(next, None);
    }
}
