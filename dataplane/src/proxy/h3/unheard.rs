//! Request streams that are open and have not said what they want.
//!
//! HTTP/1.1 and HTTP/2 give a client so long for a header section; here each stream has
//! that time. quiche tells of a stream only when its header section is complete, so the
//! ones that began are noticed by their first bytes.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// The streams, and since when they are open.
#[derive(Default)]
pub(super) struct Unheard {
    since: BTreeMap<u64, Instant>,
    /// First request id that was never noticed.
    next: u64,
}

impl Unheard {
    /// Notices streams with bytes to read.
    pub(super) fn notice(&mut self, readable: impl Iterator<Item = u64>, now: Instant) {
        for id in readable.filter(|id| is_request(*id)) {
            if id >= self.next {
                self.next = id + 4;
                self.since.insert(id, now);
            }
        }
    }

    /// The stream's header section is there, or the stream is gone.
    pub(super) fn heard(&mut self, id: u64) {
        self.since.remove(&id);
        // Streams may be heard of out of order, but each only once.
        self.next = self.next.max(id + 4);
    }

    /// Since when the oldest of them is open.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.since.values().min().copied()
    }

    /// Takes the streams whose time is over.
    pub(super) fn overdue(&mut self, patience: Duration, now: Instant) -> Vec<u64> {
        let overdue = |since: &Instant| now >= *since + patience;
        self.since
            .extract_if(.., |_, since| overdue(since))
            .map(|(id, _)| id)
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
        unheard.notice([0, 2, 3, 4].into_iter(), start);
        unheard.heard(0);
        assert_eq!(unheard.oldest(), Some(start));
        assert!(unheard.overdue(PATIENCE, start + PATIENCE / 2).is_empty());
        assert_eq!(unheard.overdue(PATIENCE, start + PATIENCE), [4]);
        assert_eq!(unheard.oldest(), None);
        unheard.notice([0, 4].into_iter(), start + PATIENCE);
        assert_eq!(unheard.oldest(), None, "neither is new");
    }
}
