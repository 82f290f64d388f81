//! What is said of ListenerSets and their listeners.

use super::{gateways::of_listener, generation, status, verdict};
use crate::{
    resources::{ObjectKey, Resources},
    status::{Condition, ConditionStatus, ObjectStatus, Scope},
    translate::{
        Fault, fault::summary, gateway::GatewayPlan, listener::ListenerPlan, listener_set,
        listener_set::ListenerSetPlan,
    },
};
use std::collections::BTreeMap;

/// Of ListenerSets and their listeners.
pub(in crate::translate) fn of_listener_sets(
    resources: &Resources,
    gateways: &BTreeMap<ObjectKey, GatewayPlan<'_>>,
) -> Vec<ObjectStatus> {
    let mut statuses = Vec::new();
    for gateway in gateways.values() {
        for set in &gateway.sets {
            let listeners = &gateway.listeners[set.listeners.clone()];
            let generation = generation(&set.entry.object.metadata);
            let said = |scope, conditions| {
                status(
                    "ListenerSet",
                    &set.key,
                    &set.entry.source,
                    scope,
                    conditions,
                )
            };
            let conditions = of_set(gateway, set, listeners, generation);
            statuses.push(said(Scope::Object, conditions));
            statuses.extend(listeners.iter().map(|listener| {
                let conditions = of_listener(gateway, listener, generation);
                said(listener.scope(), conditions)
            }));
        }
    }
    statuses.extend(of_orphans(resources, gateways));
    statuses
}

/// Whether a ListenerSet counts as attached to its Gateway.
pub(super) fn is_attached(gateway: &GatewayPlan<'_>, set: &ListenerSetPlan<'_>) -> bool {
    let listeners = &gateway.listeners[set.listeners.clone()];
    refusal(gateway, set, listeners).is_none()
}

/// Why a ListenerSet as a whole is not accepted.
fn refusal(
    gateway: &GatewayPlan<'_>,
    set: &ListenerSetPlan<'_>,
    listeners: &[ListenerPlan<'_>],
) -> Option<Fault> {
    if let Some(fault) = &set.refused {
        return Some(fault.clone());
    }
    if gateway.refused.is_some() {
        let message = format!(
            "spec.parentRef: Gateway {} is not accepted; see its conditions",
            gateway.key
        );
        return Some(Fault::new("ParentNotAccepted", message));
    }
    let none_served = listeners.iter().all(|listener| listener.config.is_none());
    none_served.then(|| Fault::new("ListenersNotValid", complaints(listeners)))
}

/// `Programmed` only where no dataplane could change it.
fn of_set(
    gateway: &GatewayPlan<'_>,
    set: &ListenerSetPlan<'_>,
    listeners: &[ListenerPlan<'_>],
    generation: i64,
) -> Vec<Condition> {
    if let Some(fault) = refusal(gateway, set, listeners) {
        let programmed = Fault {
            reason: match fault.reason {
                "ParentNotAccepted" => "ParentNotProgrammed",
                reason => reason,
            },
            ..fault.clone()
        };
        return vec![
            verdict("Accepted", Some(&fault), "Accepted", generation),
            verdict("Programmed", Some(&programmed), "Programmed", generation),
        ];
    }
    if listeners.iter().all(|listener| listener.config.is_some()) {
        return vec![verdict("Accepted", None, "Accepted", generation)];
    }
    vec![Condition::new(
        "Accepted",
        ConditionStatus::True,
        "ListenersNotValid",
        complaints(listeners),
        generation,
    )]
}

/// What keeps listeners from service.
fn complaints(listeners: &[ListenerPlan<'_>]) -> String {
    let idle = listeners
        .iter()
        .filter(|listener| listener.config.is_none());
    let faults: Vec<_> = idle
        .filter_map(|listener| listener.refused.as_ref().or(listener.unresolved.first()))
        .cloned()
        .collect();
    if faults.is_empty() {
        return "spec.listeners: is empty; add a listener".to_owned();
    }
    summary(&faults)
}

/// Of those whose Gateway is not Tidegate's: mentioned only where nobody else would, in a
/// folder of files.
fn of_orphans(
    resources: &Resources,
    gateways: &BTreeMap<ObjectKey, GatewayPlan<'_>>,
) -> Vec<ObjectStatus> {
    let mut statuses = Vec::new();
    for (key, entry) in &resources.listener_sets {
        let parent = &entry.object.spec.parent_ref;
        let gateway = listener_set::gateway_of(key, parent);
        let ours = gateway
            .as_ref()
            .is_some_and(|key| gateways.contains_key(key));
        if ours || entry.source.is_empty() {
            continue;
        }
        let message = match gateway {
            Some(gateway) => format!(
                "spec.parentRef: there is no Gateway {gateway} of Tidegate's; create it, or correct the name"
            ),
            None => format!(
                "spec.parentRef.kind: {} is not supported; refer to a Gateway",
                parent.kind.as_deref().unwrap_or("Gateway")
            ),
        };
        let generation = generation(&entry.object.metadata);
        let condition = Condition::new(
            "Accepted",
            ConditionStatus::Unknown,
            "Pending",
            message,
            generation,
        );
        statuses.push(status(
            "ListenerSet",
            key,
            &entry.source,
            Scope::Object,
            vec![condition],
        ));
    }
    statuses
}
