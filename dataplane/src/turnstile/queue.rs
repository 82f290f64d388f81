//! In which order handshakes that wait have their turns. Pure: the time is an argument.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Those that wait, each with `T`, which has it go on.
pub(super) struct Queue<T> {
    /// Clients that proved their addresses go first, most of the time.
    validated: BTreeMap<Number, Waiting<T>>,
    unvalidated: BTreeMap<Number, Waiting<T>>,
    next: Number,
    /// Turns that were given.
    turns: u32,
}

/// A place in the queue.
pub(super) type Number = u64;

struct Waiting<T> {
    since: Instant,
    waker: T,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            validated: BTreeMap::new(),
            unvalidated: BTreeMap::new(),
            next: 0,
            turns: 0,
        }
    }
}

impl<T> Queue<T> {
    pub(super) fn join(&mut self, validated: bool, now: Instant, waker: T) -> Number {
        let number = self.next;
        self.next += 1;
        let waiting = Waiting { since: now, waker };
        match validated {
            true => self.validated.insert(number, waiting),
            false => self.unvalidated.insert(number, waiting),
        };
        number
    }

    /// What has it go on; `None`: it has had its turn.
    pub(super) fn waker(&mut self, number: Number) -> Option<&mut T> {
        let waiting = self.validated.get_mut(&number);
        let waiting = waiting.or_else(|| self.unvalidated.get_mut(&number));
        waiting.map(|waiting| &mut waiting.waker)
    }

    pub(super) fn leave(&mut self, number: Number) {
        self.validated.remove(&number);
        self.unvalidated.remove(&number);
    }

    pub(super) fn len(&self) -> usize {
        self.validated.len() + self.unvalidated.len()
    }

    /// Takes the next one out: the oldest, as long as it has not waited for long. When it
    /// has, more come than can be served, and who came last is the likeliest to be there still.
    /// Some turns are for those that have proven nothing, which they might never have otherwise.
    pub(super) fn next(&mut self, now: Instant) -> Option<T> {
        self.turns = self.turns.wrapping_add(1);
        let unproven = self.turns.is_multiple_of(UNPROVEN) && !self.unvalidated.is_empty();
        let queue = match unproven || self.validated.is_empty() {
            true => &mut self.unvalidated,
            false => &mut self.validated,
        };
        let (_, oldest) = queue.first_key_value()?;
        let overloaded = now.saturating_duration_since(oldest.since) > LONG;
        let (_, waiting) = match overloaded {
            true => queue.pop_last(),
            false => queue.pop_first(),
        }?;
        Some(waiting.waker)
    }
}

/// A client notices it, and does not mind yet.
const LONG: Duration = Duration::from_millis(100);
/// One turn in so many is for clients whose addresses are not validated, if any wait.
const UNPROVEN: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut Queue<u32>, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| queue.next(now)).collect()
    }

    #[test]
    fn the_oldest_goes_first_and_proven_addresses_before_others() {
        let now = Instant::now();
        let mut queue = Queue::default();
        for (waker, validated) in [(1, false), (2, true), (3, false), (4, true)] {
            queue.join(validated, now, waker);
        }
        assert_eq!(drain(&mut queue, now + LONG), [2, 4, 1, 3]);
    }

    #[test]
    fn a_flood_from_proven_addresses_leaves_others_some_turns() {
        let now = Instant::now();
        let mut queue = Queue::default();
        for waker in 0..8 {
            queue.join(waker >= 2, now, waker);
        }
        assert_eq!(drain(&mut queue, now), [2, 3, 4, 0, 5, 6, 7, 1]);
    }

    #[test]
    fn when_too_many_come_the_newest_goes_first() {
        let now = Instant::now();
        let mut queue = Queue::default();
        for waker in 0..4 {
            queue.join(false, now + waker * LONG / 2, waker);
        }
        let later = now + 2 * LONG;
        assert_eq!(queue.next(later), Some(3));
        assert_eq!(queue.next(later), Some(2));
        queue.join(false, later, 4);
        assert_eq!(drain(&mut queue, later), [4, 1, 0]);
    }

    #[test]
    fn who_leaves_has_no_turn() {
        let now = Instant::now();
        let mut queue = Queue::default();
        let numbers = [1, 2, 3].map(|waker| queue.join(waker == 2, now, waker));
        queue.leave(numbers[0]);
        queue.leave(numbers[1]);
        assert_eq!((queue.len(), queue.waker(numbers[2])), (1, Some(&mut 3)));
        assert_eq!(drain(&mut queue, now), [3]);
        assert_eq!((queue.len(), queue.waker(numbers[2])), (0, None));
    }
}
