//! Chooses a backend by weight, and an endpoint of it by load.
//!
//! Owns what a shard knows of endpoints: requests in flight, and which of them just failed
//! to connect. Never connects, and takes the time and the randomness from its caller, the
//! proxy. One [`Balancer`] to a shard.

mod endpoint;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use rand::RngExt as _;

pub use self::endpoint::{Balancer, InFlight};
use crate::{filter::Filter, snapshot::Backend};

/// A share of a rule's requests.
#[derive(Clone, Debug)]
pub struct WeightedBackend {
    /// `None`: a reference that does not resolve, whose share is answered with 500.
    pub backend: Option<Arc<Backend>>,
    /// Relative to the others of the rule. 0: no requests.
    pub weight: u32,
    /// After those of the rule.
    pub filters: Vec<Filter>,
}

/// One of the backends, each as often as its weight says. `None` without backends or where
/// every weight is 0: the answer is 500.
pub fn pick<'a>(
    backends: &'a [WeightedBackend],
    rng: &mut (impl rand::Rng + ?Sized),
) -> Option<&'a WeightedBackend> {
    // The usual case needs no randomness.
    if let [only] = backends {
        return (only.weight > 0).then_some(only);
    }
    let total: u64 = backends
        .iter()
        .map(|backend| u64::from(backend.weight))
        .sum();
    if total == 0 {
        return None;
    }
    let mut left = rng.random_range(0..total);
    backends
        .iter()
        .find(|backend| match left.checked_sub(backend.weight.into()) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        })
}
