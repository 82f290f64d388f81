//! The numbers themselves: relaxed atomics that the owning shard adds to and the control
//! thread reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn one(&self) {
        self.add(1);
    }

    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Level(AtomicU64);

impl Level {
    /// It is this much now.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// What it was set to last.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One counter for each of `N` values of an attribute.
#[derive(Debug)]
pub struct Counters<const N: usize>([Counter; N]);

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl<const N: usize> Counters<N> {
    /// The counter of the value with this index. The last one takes what is out of range,
    /// so that no event is lost to a wrong index.
    pub fn at(&self, index: usize) -> &Counter {
        &self.0[index.min(N - 1)]
    }

    /// The counter of `label` among `labels`; of what is not there, the last one, which
    /// is named for everything else.
    pub fn named(&self, labels: &[&'static str; N], label: &str) -> &Counter {
        self.at(labels
            .iter()
            .position(|known| *known == label)
            .unwrap_or(N - 1))
    }
}
