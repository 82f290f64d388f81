//! Listeners that share sockets, and which of them a host name means.

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use tidegate_proto::v1;

use super::{
    certificate::Certificates,
    claims::Claims,
    limits::HttpLimits,
    listener::{self, Http3, Listener},
    problems::Problems,
    routes::Routes,
};
use crate::route::{HostMap, canonical_host};

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
    /// What holds before it is known which listener is meant: the most generous of each.
    pub limits: HttpLimits,
    hosts: HostMap<Arc<Listener>>,
}

impl Binding {
    /// The listener with the most specific host name that has `host` (a server name or an
    /// authority without its port). No other listener serves that host, even if this
    /// one has no route for the request.
    pub fn listener_for(&self, host: &str) -> Option<&Arc<Listener>> {
        self.hosts.get(&canonical_host(host))
    }

    /// The listener that a connection is for, by its server name. Who gives none gets the
    /// listener for every name. Where nothing else serves, the first does: such connections
    /// get its certificate and settings, and their requests find their listeners by their
    /// authorities, or none.
    pub fn listener_of_connection(&self, server_name: Option<&str>) -> &Arc<Listener> {
        self.listener_for(server_name.unwrap_or_default())
            .unwrap_or(&self.listeners[0])
    }

    /// The limits of a connection with this server name. Who gives none, or one that is nobody's,
    /// may go on to ask for any host.
    pub fn limits_of_connection(&self, server_name: Option<&str>) -> &HttpLimits {
        let named = server_name.and_then(|name| self.listener_for(name));
        named.map_or(&self.limits, |listener| &listener.limits)
    }

    /// The HTTP/3 settings of the first listener that has them: whether to open a UDP
    /// socket, and what to say in Alt-Svc where no listener is known yet.
    pub fn http3(&self) -> Option<&Http3> {
        self.listeners
            .iter()
            .find_map(|listener| listener.http3.as_ref())
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
    let mut claims = Claims::default();
    let mut bindings = BTreeMap::<BindingKey, Binding>::new();
    for listener in wire {
        let routes = routes.table(&listener.id);
        let parsed = listener::parse(&listener, routes, certificates, problems);
        claims.check(&listener.id, &parsed, problems);
        let (Some(key), Some(scheme), Some(listener)) =
            (parsed.key, parsed.scheme, parsed.listener)
        else {
            continue;
        };
        let binding = bindings.entry(key.clone()).or_insert_with(|| Binding {
            key,
            scheme,
            listeners: Vec::new(),
            limits: listener.limits.clone(),
            hosts: HostMap::default(),
        });
        let listener = Arc::new(listener);
        binding.limits = binding.limits.widened(&listener.limits);
        binding.hosts.insert(&listener.hostname, listener.clone());
        binding.listeners.push(listener);
    }
    bindings.into_values().map(Arc::new).collect()
}
