//! The parents of routes: which listeners a `parentRef` leads to.

use std::collections::BTreeMap;

use super::{
    Fault, allowed,
    gateway::GatewayPlan,
    listener_set::{self, ListenerSetPlan},
};
use crate::{
    gateway_api::{GROUP, ParentReference},
    resources::{ObjectKey, Resources},
};

/// The route that asks.
#[derive(Clone, Copy)]
pub(super) struct Child<'a> {
    /// `HTTPRoute` or `GRPCRoute`.
    pub kind: &'static str,
    pub namespace: &'a str,
    /// Read from a file, where no other controller answers for its parents.
    pub from_file: bool,
}

/// What a `parentRef` leads to.
pub(super) struct Parent {
    /// The Gateway; of a ListenerSet, the one that it adds to.
    pub gateway: ObjectKey,
    /// `Gateway namespace/name`, or `ListenerSet namespace/name`.
    pub label: String,
    /// Indices of the Gateway's listeners that it selects, and that allow the route; ascending.
    pub listeners: Vec<usize>,
}

/// Whether Tidegate answers for a parent. Of one that does not exist it does only where
/// no other controller can: in a folder of files.
pub(super) fn judges(
    resources: &Resources,
    gateways: &BTreeMap<ObjectKey, GatewayPlan<'_>>,
    child: Child<'_>,
    reference: &ParentReference,
) -> bool {
    let target = target(child, reference);
    match kind(reference) {
        Some(Kind::Gateway) => {
            gateways.contains_key(&target)
                || (child.from_file && !resources.gateways.contains_key(&target))
        }
        Some(Kind::ListenerSet) => {
            listener_set(resources, gateways, &target).is_some()
                || (child.from_file && !resources.listener_sets.contains_key(&target))
        }
        None => child.from_file,
    }
}

/// The listeners that `spec.parentRefs[index]` selects, as far as they allow the route. At
/// least one.
pub(super) fn find(
    resources: &Resources,
    gateways: &BTreeMap<ObjectKey, GatewayPlan<'_>>,
    child: Child<'_>,
    reference: &ParentReference,
    index: usize,
) -> Result<Parent, Fault> {
    let field = format!("spec.parentRefs[{index}]");
    let nowhere = |problem: String| Fault::new("NoMatchingParent", format!("{field}{problem}"));
    let target = target(child, reference);
    let (word, found) = match kind(reference) {
        None => {
            let kind = reference.kind.as_deref().unwrap_or("Gateway");
            return Err(nowhere(format!(
                ".kind: {kind} is not supported; refer to a Gateway or a ListenerSet"
            )));
        }
        Some(Kind::Gateway) => {
            let gateway = gateways.get(&target);
            let found = gateway.map(|gateway| (gateway, 0..gateway.own().len()));
            ("Gateway", found)
        }
        Some(Kind::ListenerSet) => {
            let found = listener_set(resources, gateways, &target);
            let refused = found.and_then(|(_, set)| set.refused.as_ref());
            if let Some(fault) = refused {
                return Err(nowhere(format!(
                    ": ListenerSet {target} is not accepted: {}",
                    fault.message
                )));
            }
            let found = found.map(|(gateway, set)| (gateway, set.listeners.clone()));
            ("ListenerSet", found)
        }
    };
    let label = format!("{word} {target}");
    let Some((gateway, own)) = found else {
        return Err(nowhere(format!(
            ": there is no {label}; create it, or correct the name"
        )));
    };
    let selected = own.clone().filter(|at| {
        let spec = gateway.listeners[*at].spec;
        let section = reference.section_name.as_ref();
        section.is_none_or(|name| *name == spec.name)
            && reference.port.is_none_or(|port| port == spec.port)
    });
    let selected: Vec<usize> = selected.collect();
    if selected.is_empty() {
        let known = own.map(|at| gateway.listeners[at].spec);
        let known: Vec<_> = known
            .map(|spec| format!("{}:{}", spec.name, spec.port))
            .collect();
        return Err(nowhere(format!(
            ": no listener of {label} has this sectionName and port; it has {}",
            known.join(", ")
        )));
    }
    let listeners = selected.into_iter().filter(|at| {
        let listener = &gateway.listeners[*at];
        let serves = listener.kinds.iter().any(|kind| kind.kind == child.kind);
        let rules = listener.spec.allowed_routes.as_ref();
        serves && allowed::admits_namespace(resources, rules, &listener.namespace, child.namespace)
    });
    let listeners: Vec<usize> = listeners.collect();
    if listeners.is_empty() {
        let message = format!(
            "{field}: no listener of {label} allows {}s of namespace {}; widen allowedRoutes there",
            child.kind, child.namespace
        );
        return Err(Fault::new("NotAllowedByListeners", message));
    }
    Ok(Parent {
        gateway: gateway.key.clone(),
        label,
        listeners,
    })
}

enum Kind {
    Gateway,
    ListenerSet,
}

fn kind(reference: &ParentReference) -> Option<Kind> {
    if reference.group.as_deref().unwrap_or(GROUP) != GROUP {
        return None;
    }
    match reference.kind.as_deref().unwrap_or("Gateway") {
        "Gateway" => Some(Kind::Gateway),
        "ListenerSet" => Some(Kind::ListenerSet),
        _ => None,
    }
}

fn target(child: Child<'_>, reference: &ParentReference) -> ObjectKey {
    let namespace = reference.namespace.as_deref();
    ObjectKey::new(namespace.unwrap_or(child.namespace), &reference.name)
}

/// A ListenerSet, and the Gateway of Tidegate's that it names.
fn listener_set<'g, 'a>(
    resources: &Resources,
    gateways: &'g BTreeMap<ObjectKey, GatewayPlan<'a>>,
    key: &ObjectKey,
) -> Option<(&'g GatewayPlan<'a>, &'g ListenerSetPlan<'a>)> {
    let parent = &resources.listener_sets.get(key)?.object.spec.parent_ref;
    let gateway = gateways.get(&listener_set::gateway_of(key, parent)?)?;
    let set = gateway.sets.iter().find(|set| set.key == *key)?;
    Some((gateway, set))
}
