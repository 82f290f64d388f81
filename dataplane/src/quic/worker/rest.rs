//! Memory of connections on which nothing happens.
//!
//! Most connections of a gateway are idle at any time. What their buffers have to spare, and
//! their TLS session, is given back when nothing has come for a while; buffers that are needed
//! again grow again.

use std::time::{Duration, Instant};

use crate::quic::{ApplicationOverQuic, shared::Shared};

/// Since when nothing has come.
pub(super) struct Rest {
    since: Instant,
    given_back: bool,
}

impl Rest {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            given_back: false,
        }
    }

    /// Something came.
    pub(super) fn disturb(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// When it is time to give memory back.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.given_back).then(|| self.since + QUIET)
    }

    /// Gives it back if it is time.
    pub(super) fn begin(
        &mut self,
        shared: &Shared,
        application: &mut impl ApplicationOverQuic,
        now: Instant,
    ) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.given_back = true;
            let mut qconn = shared.qconn.borrow_mut();
            qconn.shrink_to_fit();
            qconn.release_tls();
            shared.rest();
            application.rest();
        }
    }
}

/// Longer than busy clients pause, so that their buffers stay.
const QUIET: Duration = Duration::from_secs(1);
