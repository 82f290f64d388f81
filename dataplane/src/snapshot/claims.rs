//! Listeners that cannot be together: the first keeps what both want.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{
    binding::{BindingKey, Scheme},
    listener::Parsed,
    problems::{Object, Problems},
};
use crate::route::HostPattern;

/// What the listeners so far have taken. A listener is checked even if something else is
/// wrong with it, so that an operator sees all of it at once.
#[derive(Debug, Default)]
pub(super) struct Claims {
    ids: HashSet<String>,
    bindings: BTreeMap<BindingKey, Claim>,
}

/// What the listeners of a binding have taken.
#[derive(Debug)]
struct Claim {
    first: String,
    /// Of the first whose protocol is known.
    scheme: Option<Scheme>,
    /// Ids by host name.
    hosts: HashMap<HostPattern, String>,
}

impl Claims {
    pub(super) fn check(&mut self, id: &str, parsed: &Parsed, problems: &mut Problems) {
        let mut object = problems.of(id);
        if id.is_empty() {
            object.refuse(
                "id",
                "a listener has no id; name it namespace/gateway/listener",
            );
        }
        if !self.ids.insert(id.to_owned()) {
            object.refuse("id", "two listeners have this id; remove one");
        }
        let Some(key) = &parsed.key else {
            return;
        };
        if !self.bindings.contains_key(key) {
            self.refuse_overlap(key, &mut object);
        }
        let claim = self.bindings.entry(key.clone()).or_insert_with(|| Claim {
            first: id.to_owned(),
            scheme: None,
            hosts: HashMap::new(),
        });
        claim.check_scheme(parsed.scheme, key, &mut object);
        claim.check_host(id, parsed.hostname.as_ref(), key, &mut object);
    }

    /// Two sets of sockets on one address would share its traffic at random.
    fn refuse_overlap(&self, key: &BindingKey, object: &mut Object<'_>) {
        let other = self.bindings.iter().find(|(other, _)| overlap(other, key));
        if let Some((other, claim)) = other {
            let message = format!(
                "{key} overlaps with {other} of listener {}; \
                 give both listeners the same addresses, or none in common",
                claim.first
            );
            object.refuse("addresses", message);
        }
    }
}

impl Claim {
    fn check_scheme(&mut self, scheme: Option<Scheme>, key: &BindingKey, object: &mut Object<'_>) {
        let Some(scheme) = scheme else {
            return;
        };
        let taken = *self.scheme.get_or_insert(scheme);
        if taken != scheme {
            let message = format!(
                "is {scheme} where listener {} has {taken} on {key}; \
                 give one of them another port",
                self.first
            );
            object.refuse("protocol", message);
        }
    }

    fn check_host(
        &mut self,
        id: &str,
        hostname: Option<&HostPattern>,
        key: &BindingKey,
        object: &mut Object<'_>,
    ) {
        let Some(hostname) = hostname else {
            return;
        };
        let Some(other) = self.hosts.get(hostname) else {
            self.hosts.insert(hostname.clone(), id.to_owned());
            return;
        };
        let message = match hostname {
            HostPattern::Any => format!(
                "is empty as that of listener {other} on {key}; give one of them a host name"
            ),
            name => format!("{name} is that of listener {other} on {key} too; remove one of them"),
        };
        object.refuse("hostname", message);
    }
}

fn overlap(one: &BindingKey, other: &BindingKey) -> bool {
    const EVERY: [IpAddr; 2] = [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    let bound = |key: &BindingKey| match &*key.addresses {
        [] => EVERY.to_vec(),
        addresses => addresses.to_vec(),
    };
    let other_bound = bound(other);
    // The system finds a free port for each where it is 0.
    one.port == other.port
        && one.port != 0
        && bound(one)
            .iter()
            .any(|address| other_bound.contains(address))
}
