//! What is said of Gateways and their listeners.

use std::collections::BTreeMap;

use super::{all, generation, listener_sets::is_attached, status, verdict};
use crate::{
    gateway_api::GatewayAddress,
    resources::{ObjectKey, Resources},
    status::{Condition, ConditionStatus, ObjectStatus, Scope},
    translate::{Fault, fault::summary, frontend, gateway::GatewayPlan, listener::ListenerPlan},
};

/// Of Gateways and their listeners.
pub(in crate::translate) fn of_gateways(
    resources: &Resources,
    gateways: &BTreeMap<ObjectKey, GatewayPlan<'_>>,
) -> Vec<ObjectStatus> {
    let mut statuses = Vec::new();
    for (key, entry) in &resources.gateways {
        if let Some(plan) = gateways.get(key) {
            statuses.push(status(
                "Gateway",
                key,
                &entry.source,
                Scope::Gateway {
                    addresses: addresses(plan),
                    attached_listener_sets: Some(attached_sets(plan)),
                },
                of_gateway(plan),
            ));
            let generation = generation(&entry.object.metadata);
            statuses.extend(plan.own().iter().map(|listener| {
                let conditions = of_listener(plan, listener, generation);
                status("Gateway", key, &entry.source, listener.scope(), conditions)
            }));
        } else if !entry.source.is_empty() {
            let class = &entry.object.spec.gateway_class_name;
            let message = format!(
                "spec.gatewayClassName: there is no GatewayClass {class} of Tidegate's; create it, or correct the name"
            );
            let generation = generation(&entry.object.metadata);
            let condition = Condition::new(
                "Accepted",
                ConditionStatus::Unknown,
                "Pending",
                message,
                generation,
            );
            statuses.push(status(
                "Gateway",
                key,
                &entry.source,
                Scope::Gateway {
                    addresses: Vec::new(),
                    attached_listener_sets: None,
                },
                vec![condition],
            ));
        }
    }
    statuses
}

/// Those of the Service, or those that are bound.
fn addresses(plan: &GatewayPlan<'_>) -> Vec<GatewayAddress> {
    let bound = plan.addresses.iter().map(|value| GatewayAddress {
        type_: Some("IPAddress".to_owned()),
        value: value.clone(),
    });
    match &plan.provisioned {
        Some(provisioned) => provisioned.addresses.clone(),
        None => bound.collect(),
    }
}

/// `Programmed` only where no dataplane could change it.
fn of_gateway(plan: &GatewayPlan<'_>) -> Vec<Condition> {
    let generation = generation(&plan.entry.object.metadata);
    let refused = plan.own().iter().filter_map(|one| one.refused.clone());
    let invalid: Vec<_> = refused.collect();
    // Those of ListenerSets are as good as its own.
    let all_invalid = plan.listeners.iter().all(|one| one.refused.is_some());
    let accepted = match &plan.refused {
        Some(fault) => Condition::new(
            "Accepted",
            ConditionStatus::False,
            fault.reason,
            &fault.message,
            generation,
        ),
        None if all_invalid && invalid.is_empty() => {
            let message = "spec.listeners: is empty; add a listener";
            Condition::new(
                "Accepted",
                ConditionStatus::False,
                "ListenersNotValid",
                message,
                generation,
            )
        }
        None if !invalid.is_empty() => Condition::new(
            "Accepted",
            (!all_invalid).into(),
            "ListenersNotValid",
            summary(&invalid),
            generation,
        ),
        None => verdict("Accepted", None, "Accepted", generation),
    };
    let mut conditions = vec![accepted];
    let unresolved = plan.unresolved.clone().or_else(|| unresolved(plan));
    conditions.push(verdict(
        "ResolvedRefs",
        unresolved.as_ref(),
        "ResolvedRefs",
        generation,
    ));
    let insecure = frontend::insecure(plan);
    if !insecure.is_empty() {
        // Absent where clients are checked: its mere presence is the warning.
        let message = format!(
            "{}: clients are let in without a certificate that was checked",
            insecure.join(", ")
        );
        conditions.push(Condition::new(
            "InsecureFrontendValidationMode",
            ConditionStatus::True,
            "ConfigurationChanged",
            message,
            generation,
        ));
    }
    if plan.served().next().is_none() {
        let message = "no listener can be served; see the conditions of each";
        conditions.push(Condition::new(
            "Programmed",
            ConditionStatus::False,
            "Invalid",
            message,
            generation,
        ));
    }
    conditions
}

/// The listeners that refer to something in vain.
fn unresolved(plan: &GatewayPlan<'_>) -> Option<Fault> {
    let own = plan.own().iter().filter(|one| !one.unresolved.is_empty());
    let names: Vec<_> = own.map(|one| one.spec.name.as_str()).collect();
    (!names.is_empty()).then(|| {
        let message = format!(
            "spec.listeners: {} refer to what cannot be used; see ResolvedRefs of each",
            names.join(", ")
        );
        Fault::new("ListenersNotResolved", message)
    })
}

fn attached_sets(plan: &GatewayPlan<'_>) -> i32 {
    let attached = plan.sets.iter().filter(|set| is_attached(plan, set));
    attached.count().try_into().unwrap_or(i32::MAX)
}

/// Of one listener, of the Gateway's own or of a ListenerSet of that generation.
/// `Programmed` only where no dataplane could change it.
pub(super) fn of_listener(
    gateway: &GatewayPlan<'_>,
    plan: &ListenerPlan<'_>,
    generation: i64,
) -> Vec<Condition> {
    let mut conditions = vec![verdict(
        "Accepted",
        plan.refused.as_ref(),
        "Accepted",
        generation,
    )];
    conditions.push(match &plan.conflict {
        Some(fault) => Condition::new(
            "Conflicted",
            ConditionStatus::True,
            fault.reason,
            &fault.message,
            generation,
        ),
        None => Condition::new(
            "Conflicted",
            ConditionStatus::False,
            "NoConflicts",
            "",
            generation,
        ),
    });
    conditions.push(all(
        "ResolvedRefs",
        &plan.unresolved,
        "ResolvedRefs",
        generation,
    ));
    if plan.config.is_none() {
        // In a ListenerSet, a conflict is the reason for this, too.
        let conflict = plan.conflict.as_ref().filter(|_| plan.set.is_some());
        let reason = conflict.map_or("Invalid", |fault| fault.reason);
        let message = match (&plan.refused, &gateway.refused) {
            (Some(_), _) => "the listener is not accepted".to_owned(),
            (None, Some(fault)) => format!("the Gateway is not accepted: {}", fault.message),
            (None, None) if plan.certificates.is_empty() => {
                "the listener has no certificate; see ResolvedRefs".to_owned()
            }
            (None, None) => {
                "the listener has no keys for encrypted ClientHellos; see ResolvedRefs".to_owned()
            }
        };
        conditions.push(Condition::new(
            "Programmed",
            ConditionStatus::False,
            reason,
            message,
            generation,
        ));
    }
    conditions
}
