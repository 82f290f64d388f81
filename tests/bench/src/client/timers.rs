//! Timers of connections: each is set often and fires seldom.

use std::{cmp::Reverse, collections::BinaryHeap, time::Instant};

#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
    armed: Vec<Option<Instant>>,
}

impl Timers {
    /// Has `index` looked at by `at`. What is armed for sooner already is left.
    pub(super) fn set(&mut self, index: usize, at: Instant) {
        if self.armed.len() <= index {
            self.armed.resize(index + 1, None);
        }
        if self.armed[index].is_none_or(|armed| at < armed) {
            self.armed[index] = Some(at);
            self.heap.push(Reverse((at, index)));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn due(&mut self, now: Instant) -> Vec<usize> {
        let mut due = Vec::new();
        while let Some(Reverse((at, index))) = self.heap.peek().copied()
            && at <= now
        {
            self.heap.pop();
            if self.armed[index] == Some(at) {
                self.armed[index] = None;
                due.push(index);
            }
        }
        due
    }
}
