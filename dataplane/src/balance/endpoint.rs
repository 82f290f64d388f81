//! Power of two choices by requests in flight, past endpoints that do not connect.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use rand::RngExt as _;
use rustc_hash::FxHashMap;

/// How long the first failure to connect takes an endpoint out of the choice. Each further
/// one doubles it.
const EJECTION: Duration = Duration::from_secs(1);
const LONGEST_EJECTION: Duration = Duration::from_secs(30);
/// Random draws before the whole list is looked at.
const DRAWS: usize = 4;
/// Endpoints that may be remembered before those without a request are forgotten.
const REMEMBERED: usize = 1024;

/// What one shard knows of endpoints. Backends that share an address share what is known.
#[derive(Debug, Default)]
pub struct Balancer {
    endpoints: RefCell<FxHashMap<SocketAddr, Rc<Endpoint>>>,
}

/// Counts a request until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct InFlight {
    endpoint: Rc<Endpoint>,
}

#[derive(Debug, Default)]
struct Endpoint {
    in_flight: Cell<u32>,
    /// Failures to connect since the last success.
    failures: Cell<u32>,
    ejected_until: Cell<Option<Instant>>,
}

impl Balancer {
    /// An endpoint that is not among `tried`: of two at random, the one with fewer requests
    /// in flight. Those that failed to connect are left out, unless no other is there.
    /// `None`: every endpoint was tried.
    pub fn choose(
        &self,
        endpoints: &[SocketAddr],
        tried: &[SocketAddr],
        now: Instant,
        rng: &mut (impl rand::Rng + ?Sized),
    ) -> Option<SocketAddr> {
        // The usual case needs no randomness.
        if let [only] = endpoints {
            return (!tried.contains(only)).then_some(*only);
        }
        let known = self.endpoints.borrow();
        let ejected = |address: &SocketAddr| {
            known
                .get(address)
                .is_some_and(|endpoint| endpoint.is_ejected(now))
        };
        let untried = |address: &SocketAddr| !tried.contains(address);
        let healthy = |address: &SocketAddr| untried(address) && !ejected(address);
        let load = |address: &SocketAddr| {
            known
                .get(address)
                .map_or(0, |endpoint| endpoint.in_flight.get())
        };
        let Some(one) = draw(endpoints, rng, healthy) else {
            return draw(endpoints, rng, untried);
        };
        let two = draw(endpoints, rng, |address| {
            *address != one && healthy(address)
        });
        match two {
            Some(two) if load(&two) < load(&one) => Some(two),
            _ => Some(one),
        }
    }

    /// Counts a request to this endpoint from now on.
    pub fn begin(&self, address: SocketAddr) -> InFlight {
        let endpoint = self.endpoint(address);
        endpoint
            .in_flight
            .set(endpoint.in_flight.get().saturating_add(1));
        InFlight { endpoint }
    }

    /// No connection came about: leaves the endpoint out for a while.
    pub fn connect_failed(&self, address: SocketAddr, now: Instant) {
        let endpoint = self.endpoint(address);
        // Attempts that were under way together are one failure.
        if endpoint.is_ejected(now) {
            return;
        }
        let failures = endpoint.failures.get();
        let time = EJECTION
            .saturating_mul(1 << failures.min(16))
            .min(LONGEST_EJECTION);
        endpoint.failures.set(failures.saturating_add(1));
        endpoint.ejected_until.set(now.checked_add(time));
    }

    /// A connection came about: the endpoint is in the choice again.
    pub fn connected(&self, address: SocketAddr) {
        if let Some(endpoint) = self.endpoints.borrow().get(&address) {
            endpoint.failures.set(0);
            endpoint.ejected_until.set(None);
        }
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.endpoints.borrow().len()
    }

    fn endpoint(&self, address: SocketAddr) -> Rc<Endpoint> {
        let mut endpoints = self.endpoints.borrow_mut();
        if endpoints.len() >= REMEMBERED && !endpoints.contains_key(&address) {
            // Addresses come and go with the backends' instances.
            endpoints.retain(|_, endpoint| endpoint.in_flight.get() > 0);
        }
        endpoints.entry(address).or_default().clone()
    }
}

impl Endpoint {
    fn is_ejected(&self, now: Instant) -> bool {
        self.ejected_until.get().is_some_and(|until| now < until)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let in_flight = &self.endpoint.in_flight;
        in_flight.set(in_flight.get().saturating_sub(1));
    }
}

/// One of those that will do, each as likely as the others.
fn draw(
    endpoints: &[SocketAddr],
    rng: &mut (impl rand::Rng + ?Sized),
    will_do: impl Fn(&SocketAddr) -> bool,
) -> Option<SocketAddr> {
    if endpoints.is_empty() {
        return None;
    }
    for _ in 0..DRAWS {
        let drawn = endpoints[rng.random_range(0..endpoints.len())];
        if will_do(&drawn) {
            return Some(drawn);
        }
    }
    let left = || endpoints.iter().filter(|address| will_do(address));
    let count = left().count();
    if count == 0 {
        return None;
    }
    left().nth(rng.random_range(0..count)).copied()
}
