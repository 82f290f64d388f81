//! Request streams that are open, and keep us waiting: for what they want, or, although it
//! is answered, for their end.
//!
//! HTTP/1.1 and HTTP/2 give a client so long for a header section; here each stream has
//! that time. quiche tells of a stream only when its header section is complete, so the
//! ones that began are noticed by their first bytes.
//!
//! A server that has answered may ask for no more of a request (RFC 9114 4.1). But most
//! clients send the end of a request without content in a packet of its own, and some take it
//! for a failure to be asked meanwhile. So where no content was seen, the end has as much time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// The streams, since when they are waited for, and for what.
#[derive(Default)]
pub(super) struct Unheard {
    since: BTreeMap<u64, (Instant, Missing)>,
    /// First request id that was never noticed.
    next: u64,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The header section.
    Head,
    /// The end of an answered request.
    End,
}

impl Unheard {
    /// Notices streams with bytes to read. The clock is asked only for new ones.
    pub(super) fn notice(
        &mut self,
        readable: impl Iterator<Item = u64>,
        now: impl Fn() -> Instant,
    ) {
        for id in readable.filter(|id| is_request(*id)) {
            if id >= self.next {
                self.next = id + 4;
                self.since.insert(id, (now(), Missing::Head));
            }
        }
    }

    /// The stream's header section is there, or the stream is gone.
    pub(super) fn heard(&mut self, id: u64) {
        self.since.remove(&id);
        // Streams may be heard of out of order, but each only once.
        self.next = self.next.max(id + 4);
    }

    /// A request was answered, and has not ended.
    pub(super) fn answered(&mut self, id: u64, now: Instant) {
        self.since.insert(id, (now, Missing::End));
    }

    /// Whether all that a stream has yet to say is its end.
    pub(super) fn is_answered(&self, id: u64) -> bool {
        matches!(self.since.get(&id), Some((_, Missing::End)))
    }

    /// Since when the oldest of them is waited for.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.since.values().map(|(since, _)| *since).min()
    }

    /// Gives back what an empty map keeps.
    pub(super) fn shrink_to_fit(&mut self) {
        if self.since.is_empty() {
            self.since = BTreeMap::new();
        }
    }

    /// Takes the streams whose time is over, and what is missing of each.
    pub(super) fn overdue(&mut self, patience: Duration, now: Instant) -> Vec<(u64, Missing)> {
        self.since
            .extract_if(.., |_, (since, _)| now >= *since + patience)
            .map(|(id, (_, missing))| (id, missing))
            .collect()
    }
}

/// Client-initiated and bidirectional (RFC 9000 2.1).
fn is_request(id: u64) -> bool {
    id.is_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn a_stream_that_says_nothing_is_overdue_once() {
        let start = Instant::now();
        let mut unheard = Unheard::default();
        unheard.notice([0, 2, 3, 4].into_iter(), || start);
        unheard.heard(0);
        assert_eq!(unheard.oldest(), Some(start));
        assert!(unheard.overdue(PATIENCE, start + PATIENCE / 2).is_empty());
        let overdue = unheard.overdue(PATIENCE, start + PATIENCE);
        assert_eq!(overdue, [(4, Missing::Head)]);
        assert_eq!(unheard.oldest(), None);
        unheard.notice([0, 4].into_iter(), || start + PATIENCE);
        assert_eq!(unheard.oldest(), None, "neither is new");
    }

    #[test]
    fn an_answered_request_may_take_as_long_to_end() {
        let start = Instant::now();
        let mut unheard = Unheard::default();
        unheard.notice([0, 4].into_iter(), || start);
        for id in [0, 4] {
            unheard.heard(id);
            assert!(!unheard.is_answered(id));
            unheard.answered(id, start);
            assert!(unheard.is_answered(id));
        }
        unheard.heard(4);
        let overdue = unheard.overdue(PATIENCE, start + PATIENCE);
        assert_eq!(overdue, [(0, Missing::End)]);
    }
}
