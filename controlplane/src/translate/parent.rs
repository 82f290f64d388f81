//! The parents of routes: which listeners a `parentRef` leads to.

use std::collections::BTreeMap;

use super::{Fault, allowed, gateway::GatewayPlan};
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
    /// Indices of the Gateway's listeners that it selects, and that allow the route.
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
            gateway_of_set(gateways, &target).is_some()
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
    let (gateway, set) = match kind(reference) {
        None => {
            let kind = reference.kind.as_deref().unwrap_or("Gateway");
            return Err(nowhere(format!(
                ".kind: {kind} is not supported; refer to a Gateway or a ListenerSet"
            )));
        }
        Some(Kind::Gateway) => (gateways.get(&target), None),
        Some(Kind::ListenerSet) => (gateway_of_set(gateways, &target), Some(&target)),
    };
    let word = if set.is_some() {
        "ListenerSet"
    } else {
        "Gateway"
    };
    let label = format!("{word} {target}");
    let Some(gateway) = gateway else {
        return Err(nowhere(format!(
            ": there is no {label}; create it, or correct the name"
        )));
    };
    let own: Vec<usize> = (0..gateway.listeners.len())
        .filter(|at| gateway.listeners[*at].set.as_ref() == set)
        .collect();
    let selected = own.iter().copied().filter(|at| {
        let spec = gateway.listeners[*at].spec;
        let section = reference.section_name.as_ref();
        section.is_none_or(|name| *name == spec.name)
            && reference.port.is_none_or(|port| port == spec.port)
    });
    let selected: Vec<usize> = selected.collect();
    if selected.is_empty() {
        let known = own.iter().map(|at| gateway.listeners[*at].spec);
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

/// The Gateway that a ListenerSet adds to.
fn gateway_of_set<'g, 'a>(
    _gateways: &'g BTreeMap<ObjectKey, GatewayPlan<'a>>,
    _set: &ObjectKey,
) -> Option<&'g GatewayPlan<'a>> {
    None
}
