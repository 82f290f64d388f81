//! Plans put together into what a dataplane gets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use prost::Message;
use sha2::{Digest, Sha256};
use tidegate_proto::v1;

use super::{backend::Backends, gateway::GatewayPlan, route::RoutePlan};

/// The snapshot of these Gateways with their keys, without the listeners in `left_out`.
pub(super) fn assemble<'a, 'r: 'a>(
    keys: v1::Keys,
    gateways: impl Iterator<Item = &'a GatewayPlan<'r>>,
    left_out: &BTreeMap<String, String>,
    routes: &[RoutePlan<'_>],
    backends: &Backends<'_>,
) -> v1::Snapshot {
    let mut listeners = BTreeMap::new();
    let mut certificates = BTreeMap::new();
    for gateway in gateways {
        for (plan, config) in gateway.served() {
            if left_out.contains_key(&plan.id) {
                continue;
            }
            listeners.insert(plan.id.clone(), config.clone());
            let named = plan
                .certificates
                .iter()
                .chain(&gateway.backend_certificate)
                .map(|certificate| (certificate.id.clone(), certificate.clone()));
            certificates.extend(named);
        }
    }
    let routes: Vec<_> = routes
        .iter()
        .filter_map(|route| route.message(|listener| listeners.contains_key(listener)))
        .collect();
    let rules = routes.iter().flat_map(|route| &route.rules);
    let named: BTreeSet<&str> = rules.flat_map(backend_ids).collect();
    let backends = backends
        .found
        .iter()
        .filter(|(id, _)| named.contains(id.as_str()));
    let mut snapshot = v1::Snapshot {
        version: String::new(),
        listeners: listeners.into_values().collect(),
        certificates: certificates.into_values().collect(),
        backends: backends.map(|(_, backend)| backend.clone()).collect(),
        routes,
        keys: Some(keys),
    };
    snapshot.version = version(&snapshot);
    snapshot
}

/// The backends that a rule sends requests or copies of them to.
fn backend_ids(rule: &v1::Rule) -> impl Iterator<Item = &str> {
    let of_backends = rule.backends.iter().flat_map(|backend| &backend.filters);
    let mirrored = rule.filters.iter().chain(of_backends);
    let mirrored = mirrored.filter_map(|filter| match &filter.kind {
        Some(v1::filter::Kind::Mirror(mirror)) => Some(mirror.backend_id.as_str()),
        _ => None,
    });
    let backends = rule.backends.iter();
    backends
        .map(|backend| backend.backend_id.as_str())
        .chain(mirrored)
}

/// Of a snapshot whose `version` is empty.
fn version(snapshot: &v1::Snapshot) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(snapshot.encode_to_vec()) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// The listeners that the snapshot of all Gateways leaves out, because they cannot be told
/// apart from those of an older Gateway on the same port; with the reason.
pub(super) fn shadowed(
    gateways: &BTreeMap<crate::resources::ObjectKey, GatewayPlan<'_>>,
) -> BTreeMap<String, String> {
    let mut by_age: Vec<_> = gateways.values().collect();
    by_age.sort_by_key(|gateway| gateway.age());
    let mut kept: Vec<&v1::Listener> = Vec::new();
    let mut shadowed = BTreeMap::new();
    for gateway in by_age {
        // Those of one Gateway do not shadow each other: they were told apart before.
        let mut own = Vec::new();
        for (plan, config) in gateway.served() {
            match kept.iter().find(|older| clash(older, config)) {
                Some(older) => {
                    let message = format!(
                        "listener {}: port {} is that of {} of an older Gateway, with the same host name, \
                         another protocol or other addresses; change the port or the host name, or \
                         give this Gateway a dataplane of its own",
                        plan.spec.name, config.port, older.id
                    );
                    shadowed.insert(plan.id.clone(), message);
                }
                None => own.push(config),
            }
        }
        kept.extend(own);
    }
    shadowed
}

/// Two listeners share sockets only if all of their addresses are the same; sockets that
/// have some in common would share traffic at random.
fn clash(one: &v1::Listener, other: &v1::Listener) -> bool {
    if one.port != other.port {
        return false;
    }
    if one.addresses == other.addresses {
        return one.protocol != other.protocol || one.hostname == other.hostname;
    }
    bound(one)
        .iter()
        .any(|address| bound(other).contains(address))
}

/// None stands for every address of both kinds.
fn bound(listener: &v1::Listener) -> Vec<&str> {
    match listener.addresses.as_slice() {
        [] => vec!["0.0.0.0", "::"],
        addresses => addresses.iter().map(String::as_str).collect(),
    }
}
