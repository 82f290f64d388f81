//! Acknowledgements that wait for the answer, to share its packet.
//!
//! quiche acknowledges whenever it is asked for packets. A request that goes to an upstream
//! would so cost two packets: an acknowledgement at once and the answer a moment later. RFC
//! 9000 13.2.1 lets an endpoint wait for as long as it has said that it may.

use std::time::{Duration, Instant};

/// What came since packets last went out.
#[derive(Default)]
pub(super) struct DelayedAck {
    datagrams: usize,
    until: Option<Instant>,
}

impl DelayedAck {
    /// Datagrams came.
    pub(super) fn received(&mut self, datagrams: usize) {
        self.datagrams += datagrams;
    }

    /// Whether nothing is to be sent yet. `answers_follow`: what came has begun work whose
    /// results are all that there is to send.
    pub(super) fn waits(&mut self, answers_follow: bool, now: Instant) -> bool {
        let late = self.until.is_some_and(|until| now >= until);
        if !answers_follow || late || self.datagrams > MOST_DATAGRAMS {
            return false;
        }
        self.until.get_or_insert(now + LONGEST);
        true
    }

    /// When packets must go out.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Packets go out, with acknowledgements.
    pub(super) fn sent(&mut self) {
        *self = Self::default();
    }
}

/// RFC 9000 13.2.2 asks for an acknowledgement after two packets that want one.
const MOST_DATAGRAMS: usize = 2;
/// Well below the 25 ms that clients are told (RFC 9000 18.2, max_ack_delay), because timers
/// are late at times.
const LONGEST: Duration = Duration::from_millis(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_waits_for_the_answer_but_not_for_long() {
        let mut ack = DelayedAck::default();
        let now = Instant::now();
        ack.received(1);
        assert!(ack.waits(true, now));
        assert!(ack.waits(true, now + LONGEST / 2));
        assert_eq!(ack.deadline(), Some(now + LONGEST), "it does not move");
        assert!(!ack.waits(true, now + LONGEST));
        ack.sent();
        assert_eq!(ack.deadline(), None);
    }

    #[test]
    fn a_third_datagram_is_acknowledged_at_once() {
        let mut ack = DelayedAck::default();
        let now = Instant::now();
        ack.received(2);
        assert!(ack.waits(true, now));
        ack.received(1);
        assert!(!ack.waits(true, now));
    }

    #[test]
    fn nothing_waits_without_an_answer_to_come() {
        let mut ack = DelayedAck::default();
        ack.received(1);
        assert!(!ack.waits(false, Instant::now()));
    }
}
