//! The configuration that this dataplane serves, in the form that traffic reads.
//!
//! Owns the way from the wire to immutable tables: certificates are parsed and matched
//! with their keys, regular expressions compiled, routes ranked, defaults filled in.
//! All or nothing: one mistake refuses the whole, with every mistake named, and the
//! snapshot before serves on. Pure: it binds nothing, reads no clock and no file.
//! The control thread parses; shards, the TLS layer and the proxy read.

mod admission;
mod backend;
mod binding;
mod certificate;
mod cidr;
mod claims;
mod client_validation;
mod ech;
mod endpoints;
mod filters;
mod keys;
mod limits;
mod listener;
mod problems;
mod routes;
mod transport;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use tidegate_proto::v1;

pub use self::{
    admission::Admission,
    backend::{Backend, BackendProtocol, BackendTls, SubjectAltName},
    binding::{Binding, BindingKey, Scheme},
    certificate::Certificate,
    cidr::{Cidr, InvalidCidr},
    client_validation::ClientValidation,
    ech::EchKey,
    endpoints::Endpoints,
    keys::{CidKey, Keys, SecretKey, TicketKey},
    limits::HttpLimits,
    listener::{Http3, Listener},
    transport::{CongestionControl, MAX_VARINT, QuicTransport, RetryMode},
};
use self::{problems::Problems, routes::Routes};
pub use crate::route::{HostPattern, canonical_host};

/// Everything to serve, immutable and shared by the shards.
#[derive(Debug)]
pub struct Snapshot {
    /// As the control plane gave it; names this content.
    pub version: String,
    /// What to listen on, by key. Listeners with equal addresses and port share one.
    pub bindings: Vec<Arc<Binding>>,
    /// Secrets that every shard and every dataplane share.
    pub keys: Keys,
    backends: HashMap<Arc<str>, Arc<Backend>>,
}

/// What a shard holds: a snapshot and the addresses of its backends at this time.
#[derive(Clone, Debug)]
pub struct Configuration {
    pub snapshot: Arc<Snapshot>,
    pub endpoints: Arc<Endpoints>,
}

impl Snapshot {
    /// The backend with this id.
    pub fn backend(&self, id: &str) -> Option<&Arc<Backend>> {
        self.backends.get(id)
    }

    /// The binding with exactly these addresses and port.
    pub fn binding(&self, key: &BindingKey) -> Option<&Arc<Binding>> {
        let found = self
            .bindings
            .binary_search_by(|binding| binding.key.cmp(key));
        found.ok().map(|index| &self.bindings[index])
    }

    /// Every listener of every binding.
    pub fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.bindings.iter().flat_map(|binding| &binding.listeners)
    }
}

impl TryFrom<v1::Snapshot> for Snapshot {
    type Error = Vec<v1::Rejection>;

    /// Every problem of the snapshot, not the first alone.
    fn try_from(wire: v1::Snapshot) -> Result<Self, Self::Error> {
        let mut problems = Problems::default();
        if wire.version.is_empty() {
            problems
                .of("snapshot")
                .refuse("version", "is empty; send the hash of the content");
        }
        let keys = keys::parse(wire.keys, &mut problems);
        let certificates = certificate::parse_all(wire.certificates, &mut problems);
        let backends = backend::parse_all(wire.backends, &mut problems);
        let routes = Routes::parse(wire.routes, &wire.listeners, &backends, &mut problems);
        let bindings = binding::parse_all(wire.listeners, &certificates, routes, &mut problems);

        let backends = backends
            .into_iter()
            .filter_map(|(id, backend)| Some((id, backend?)));
        let backends = backends.collect();
        match keys {
            Some(keys) if problems.is_empty() => Ok(Self {
                version: wire.version,
                bindings,
                keys,
                backends,
            }),
            _ => Err(problems.into_rejections()),
        }
    }
}
