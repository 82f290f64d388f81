//! A connection's way out without losing a request.
//!
//! First the application announces that the end is near. A round trip later, when the
//! client knows, it names the first request that it refuses. Another round trip later
//! nothing that was sent before that can still be under way: as soon as no request is
//! active and the client has acknowledged every answer, the connection closes. The deadline ends it in any case.

use std::time::{Duration, Instant};

use crate::quic::{
    ApplicationError, ApplicationOverQuic, DrainPhase,
    shared::{Draining, Shared},
};

/// How far the drain is, and since when.
#[derive(Default)]
pub(super) struct Drain {
    reached: Option<(DrainPhase, Instant)>,
    round_trip: Duration,
}

impl Drain {
    /// Takes the next step if it is due. Says whether the connection is to close.
    pub(super) fn advance<A: ApplicationOverQuic>(
        &mut self,
        shared: &Shared,
        application: &mut A,
        now: Instant,
    ) -> Result<bool, ApplicationError> {
        let Some(Draining { by, deadline }) = shared.drain.get() else {
            return Ok(false);
        };
        let mut qconn = shared.qconn.borrow_mut();
        let due = self.next().is_none_or(|next| now >= next);
        match self.reached {
            None => {
                let rtt = qconn
                    .path_stats()
                    .find(|path| path.active)
                    .map(|path| path.rtt);
                self.round_trip = rtt
                    .unwrap_or_default()
                    .clamp(MIN_ROUND_TRIP, MAX_ROUND_TRIP);
                application.on_drain(&mut qconn, DrainPhase::Announce)?;
                self.reached = Some((DrainPhase::Announce, now));
            }
            Some((DrainPhase::Announce, _)) if due => {
                application.on_drain(&mut qconn, DrainPhase::Refuse)?;
                self.reached = Some((DrainPhase::Refuse, now));
            }
            _ => {}
        }
        let refused = matches!(self.reached, Some((DrainPhase::Refuse, since)) if now >= since + self.round_trip);
        let over = refused && application.activity().is_idle() || now >= deadline;
        if over {
            shared.closed_by.set(Some(by));
            application.goodbye().apply(&mut qconn);
        }
        Ok(over)
    }

    /// When [`advance`](Self::advance) must be called again.
    pub(super) fn deadline(&self, shared: &Shared) -> Option<Instant> {
        let Draining { deadline, .. } = shared.drain.get()?;
        let waits = shared.activity.get().is_idle()
            || !matches!(self.reached, Some((DrainPhase::Refuse, _)));
        Some(match self.next().filter(|_| waits) {
            Some(next) => next.min(deadline),
            None => deadline,
        })
    }

    fn next(&self) -> Option<Instant> {
        self.reached.map(|(_, since)| since + self.round_trip)
    }
}

const MIN_ROUND_TRIP: Duration = Duration::from_millis(20);
const MAX_ROUND_TRIP: Duration = Duration::from_secs(1);
