//! The addresses of backends, as sessions tell them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tidegate_proto::v1;

use crate::snapshot::{Endpoints, Snapshot};

/// What was said last of each backend.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// As they came, for the cache.
    wire: BTreeMap<String, v1::Endpoints>,
    /// As shards read them.
    parsed: Endpoints,
}

impl Addresses {
    /// Takes what is said of one backend. False when it is nothing new: replicas repeat
    /// each other.
    pub(super) fn learn(&mut self, endpoints: v1::Endpoints) -> bool {
        if self.wire.get(&endpoints.backend_id) == Some(&endpoints) {
            return false;
        }
        for v1::Rejection {
            object,
            field,
            message,
        } in Endpoints::check(&endpoints)
        {
            tracing::warn!(object, field, reason = message, "endpoint left out");
        }
        self.parsed = self.parsed.with(endpoints.clone());
        self.wire.insert(endpoints.backend_id.clone(), endpoints);
        true
    }

    /// True when something was said of a backend.
    pub(super) fn knows(&self, backend: &str) -> bool {
        self.wire.contains_key(backend)
    }

    /// True when something was said of every backend, be it that it has no addresses.
    pub(super) fn cover(&self, snapshot: &v1::Snapshot) -> bool {
        let backends = &mut snapshot.backends.iter();
        backends.all(|backend| self.knows(&backend.id))
    }

    /// The addresses of a snapshot's backends.
    pub(super) fn of(&self, snapshot: &Snapshot) -> Arc<Endpoints> {
        Arc::new(self.parsed.retained(snapshot))
    }

    /// Forgets all backends but those of these snapshots.
    pub(super) fn retain<'a>(&mut self, snapshots: impl Iterator<Item = &'a v1::Snapshot>) {
        let backends = snapshots.flat_map(|snapshot| &snapshot.backends);
        let known: BTreeSet<_> = backends.map(|backend| &backend.id).collect();
        let before = self.wire.len();
        self.wire.retain(|backend, _| known.contains(backend));
        if self.wire.len() != before {
            let wire = self.wire.values().cloned();
            self.parsed = wire.fold(Endpoints::default(), |all, one| all.with(one));
        }
    }

    /// Everything, in order of the backends.
    pub(super) fn to_wire(&self) -> Vec<v1::Endpoints> {
        self.wire.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(backend: &str, address: &str) -> v1::Endpoints {
        v1::Endpoints {
            backend_id: backend.into(),
            endpoints: vec![v1::Endpoint {
                address: address.into(),
                port: 80,
            }],
        }
    }

    fn snapshot(backends: &[&str]) -> v1::Snapshot {
        let backends = backends.iter().map(|id| v1::Backend {
            id: (*id).into(),
            ..Default::default()
        });
        v1::Snapshot {
            backends: backends.collect(),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_repeated_is_nothing_new() {
        let mut addresses = Addresses::default();
        assert!(addresses.learn(endpoints("a", "10.0.0.1")));
        assert!(!addresses.learn(endpoints("a", "10.0.0.1")));
        assert!(addresses.learn(endpoints("a", "10.0.0.2")));
        assert_eq!(addresses.parsed.of("a"), ["10.0.0.2:80".parse().unwrap()]);
    }

    #[test]
    fn only_backends_of_the_last_snapshots_are_kept() {
        let mut addresses = Addresses::default();
        for backend in ["a", "b", "c"] {
            addresses.learn(endpoints(backend, "10.0.0.1"));
        }
        addresses.retain([&snapshot(&["a"]), &snapshot(&["b"])].into_iter());
        assert!(addresses.cover(&snapshot(&["a", "b"])));
        assert!(!addresses.cover(&snapshot(&["c"])));
        assert!(addresses.parsed.of("c").is_empty());
    }
}
