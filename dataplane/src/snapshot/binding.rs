//! Listeners that share sockets, and which of them a host name means.

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use tidegate_proto::v1;

use super::{
    certificate::Certificates,
    listener::{self, Http3, Listener},
    problems::Problems,
    routes::Routes,
};
use crate::route::{HostMap, HostPattern, canonical_host};

/// Where sockets are bound. Equal keys share sockets across snapshots too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BindingKey {
    /// Sorted, without repetition. Empty: every address, IPv4 and IPv6.
    pub addresses: Vec<IpAddr>,
    /// 0 lets the system choose, which only tests want.
    pub port: u16,
}

/// What a binding speaks: one per binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
}

/// Listeners with equal addresses and port.
#[derive(Debug)]
pub struct Binding {
    pub key: BindingKey,
    pub scheme: Scheme,
    /// In the snapshot's order; at least one.
    pub listeners: Vec<Arc<Listener>>,
    hosts: HostMap<Arc<Listener>>,
}

impl Binding {
    /// The listener with the most specific host name that has `host` (a server name or an
    /// authority without its port). No other listener serves that host, even if this
    /// one has no route for the request.
    pub fn listener_for(&self, host: &str) -> Option<&Arc<Listener>> {
        self.hosts.get(&canonical_host(host))
    }

    /// The HTTP/3 settings of the first listener that has them: whether to open a UDP
    /// socket, and what to say in Alt-Svc where no listener is known yet.
    pub fn http3(&self) -> Option<&Http3> {
        self.listeners
            .iter()
            .find_map(|listener| listener.http3.as_ref())
    }
}

impl BindingKey {
    /// Whether a socket of one could take packets of the other.
    fn overlaps(&self, other: &Self) -> bool {
        self.port == other.port
            && self
                .addresses
                .iter()
                .any(|address| other.addresses.contains(address))
    }
}

impl fmt::Display for BindingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.addresses.is_empty() {
            return write!(f, "*:{}", self.port);
        }
        for (index, address) in self.addresses.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match address {
                IpAddr::V4(v4) => write!(f, "{comma}{v4}:{}", self.port)?,
                IpAddr::V6(v6) => write!(f, "{comma}[{v6}]:{}", self.port)?,
            }
        }
        Ok(())
    }
}

impl Scheme {
    /// As in a URI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Port that a URI need not name.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

pub(super) fn parse_all(
    wire: Vec<v1::Listener>,
    certificates: &Certificates,
    mut routes: Routes,
    problems: &mut Problems,
) -> Vec<Arc<Binding>> {
    let mut bindings = BTreeMap::<BindingKey, Binding>::new();
    for listener in wire {
        let table = routes.table(&listener.id);
        let Some(parsed) = listener::parse(listener, table, certificates, problems) else {
            continue;
        };
        let (key, scheme, listener) = parsed;
        let binding = bindings.entry(key.clone()).or_insert_with(|| Binding {
            key,
            scheme,
            listeners: Vec::new(),
            hosts: HostMap::default(),
        });
        join(binding, scheme, Arc::new(listener), problems);
    }
    refuse_overlaps(&bindings, problems);
    bindings.into_values().map(Arc::new).collect()
}

fn join(binding: &mut Binding, scheme: Scheme, listener: Arc<Listener>, problems: &mut Problems) {
    let Binding {
        key,
        listeners,
        hosts,
        ..
    } = binding;
    if let Some(first) = listeners.first()
        && scheme != binding.scheme
    {
        let message = format!(
            "is {scheme} where listener {} has {} on {key}; give one of them another port",
            first.id, binding.scheme,
        );
        problems.of(&listener.id).refuse("protocol", message);
    }
    if let Some(before) = hosts.insert(&listener.hostname, listener.clone()) {
        let message = match &listener.hostname {
            HostPattern::Any => format!(
                "is empty as that of listener {} on {key}; give one of them a host name",
                before.id
            ),
            name => format!(
                "{name} is that of listener {} on {key} too; remove one of them",
                before.id
            ),
        };
        problems.of(&listener.id).refuse("hostname", message);
    }
    listeners.push(listener);
}

/// Two sets of sockets on one address would share its traffic at random.
fn refuse_overlaps(bindings: &BTreeMap<BindingKey, Binding>, problems: &mut Problems) {
    let bindings: Vec<_> = bindings.values().collect();
    for (index, binding) in bindings.iter().enumerate() {
        let others = &bindings[..index];
        let Some(other) = others.iter().find(|other| other.key.overlaps(&binding.key)) else {
            continue;
        };
        let (Some(here), Some(there)) = (binding.listeners.first(), other.listeners.first()) else {
            continue;
        };
        let message = format!(
            "{} overlap with {} of listener {}; give both listeners the same addresses, or none in common",
            binding.key, other.key, there.id
        );
        problems.of(&here.id).refuse("addresses", message);
    }
}
