//! Which requests are copied, and where to.

use std::sync::Arc;

use rand::RngExt as _;

use crate::snapshot::Backend;

/// Sends a copy of a share of the requests to another backend.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// `None`: a reference that does not resolve; nothing is sent.
    pub backend: Option<Arc<Backend>>,
    /// Of `denominator` requests, so many are copied.
    pub numerator: u32,
    /// Never 0.
    pub denominator: u32,
}

impl Mirror {
    /// Whether this request is among those that are copied.
    pub fn takes(&self, rng: &mut (impl rand::Rng + ?Sized)) -> bool {
        // The usual case needs no randomness.
        self.numerator >= self.denominator || rng.random_range(0..self.denominator) < self.numerator
    }
}

/// Backends are told apart by their ids, as everywhere in a snapshot.
impl PartialEq for Mirror {
    fn eq(&self, other: &Self) -> bool {
        let id = |mirror: &Self| mirror.backend.as_ref().map(|backend| backend.id.clone());
        id(self) == id(other)
            && (self.numerator, self.denominator) == (other.numerator, other.denominator)
    }
}

impl Eq for Mirror {}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn a_fraction_of_the_requests_is_copied() {
        let mut rng = StdRng::seed_from_u64(7);
        for (numerator, denominator, expected) in [
            (0, 100, 0),
            (1, 1, 10_000),
            (20, 100, 2000),
            (1, 2, 5000),
            (7, 20, 3500),
        ] {
            let mirror = Mirror {
                backend: None,
                numerator,
                denominator,
            };
            let taken = (0..10_000).filter(|_| mirror.takes(&mut rng)).count();
            assert!(
                taken.abs_diff(expected) <= 150,
                "{numerator}/{denominator}: {taken}"
            );
        }
    }
}
