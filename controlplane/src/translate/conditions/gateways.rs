//! What is said of Gateways and their listeners.

use std::collections::BTreeMap;

use super::{all, generation, status, verdict};
use crate::{
    gateway_api::GatewayAddress,
    resources::{ObjectKey, Resources},
    status::{Condition, ConditionStatus, ObjectStatus, Scope},
    translate::{fault::summary, gateway::GatewayPlan, listener::ListenerPlan},
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
                    attached_listener_sets: None,
                },
                of_gateway(plan),
            ));
            statuses.extend(plan.listeners.iter().map(|listener| {
                let scope = Scope::Listener {
                    name: listener.spec.name.clone(),
                    attached_routes: listener.attached,
                    supported_kinds: listener.kinds.clone(),
                };
                status(
                    "Gateway",
                    key,
                    &entry.source,
                    scope,
                    of_listener(plan, listener),
                )
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
    let invalid: Vec<_> = plan
        .listeners
        .iter()
        .filter_map(|listener| listener.refused.clone())
        .collect();
    let all_invalid = invalid.len() == plan.listeners.len();
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
    if let Some(fault) = &plan.unresolved {
        conditions.push(verdict(
            "ResolvedRefs",
            Some(fault),
            "ResolvedRefs",
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

fn of_listener(gateway: &GatewayPlan<'_>, plan: &ListenerPlan<'_>) -> Vec<Condition> {
    let generation = generation(&gateway.entry.object.metadata);
    let mut conditions = vec![verdict(
        "Accepted",
        plan.refused.as_ref(),
        "Accepted",
        generation,
    )];
    conditions.push(match plan.refused.as_ref().filter(|_| plan.conflicted) {
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
        let message = match (&plan.refused, &gateway.refused) {
            (Some(_), _) => "the listener is not accepted".to_owned(),
            (None, Some(fault)) => format!("the Gateway is not accepted: {}", fault.message),
            (None, None) => "the listener has no certificate; see ResolvedRefs".to_owned(),
        };
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
