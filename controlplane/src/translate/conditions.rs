//! Plans told as conditions.

mod gateways;
mod listener_sets;
mod routes;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub(super) use self::{
    gateways::of_gateways,
    listener_sets::of_listener_sets,
    routes::{of_policies, of_routes},
};
use super::{
    Fault, Options, class::Classes, endpoints, fault::summary, quic_policy::QuicPolicyPlan,
};
use crate::{
    resources::{Entry, ObjectKey, Resources},
    status::{Condition, ConditionStatus, ObjectStatus, Scope},
};

/// Of GatewayClasses. One of another controller is mentioned only where nobody else would:
/// in a folder of files.
pub(super) fn of_classes(
    resources: &Resources,
    options: &Options,
    classes: &Classes,
) -> Vec<ObjectStatus> {
    let mut statuses = Vec::new();
    for (key, entry) in &resources.gateway_classes {
        let (name, controller) = (&key.name, &entry.object.spec.controller_name);
        let generation = generation(&entry.object.metadata);
        let condition = if classes.serves(name) {
            verdict("Accepted", classes.fault(name), "Accepted", generation)
        } else if entry.source.is_empty() {
            continue;
        } else {
            let message = format!(
                "spec.controllerName: `{controller}` is another controller; write {} to be served by Tidegate",
                options.controller_name
            );
            Condition::new(
                "Accepted",
                ConditionStatus::Unknown,
                "Waiting",
                message,
                generation,
            )
        };
        statuses.push(status(
            "GatewayClass",
            key,
            &entry.source,
            Scope::Object,
            vec![condition],
        ));
    }
    statuses
}

/// Of QUICPolicies, one for each target.
pub(super) fn of_quic_policies(policies: &[QuicPolicyPlan<'_>]) -> Vec<ObjectStatus> {
    let mut statuses = Vec::new();
    for plan in policies {
        let generation = generation(&plan.entry.object.metadata);
        for (target, fault) in &plan.targets {
            statuses.push(status(
                "QUICPolicy",
                &plan.key,
                &plan.entry.source,
                Scope::Parent(target.clone()),
                vec![verdict("Accepted", fault.as_ref(), "Accepted", generation)],
            ));
        }
        if plan.entry.object.spec.target_refs.is_empty() {
            let message = "spec.targetRefs: is empty; name the Gateway that it is for";
            let fault = Fault::new("Invalid", message);
            statuses.push(status(
                "QUICPolicy",
                &plan.key,
                &plan.entry.source,
                Scope::Object,
                vec![verdict("Accepted", Some(&fault), "Accepted", generation)],
            ));
        }
    }
    statuses
}

/// Of EndpointSlices, only those that cannot be used in full.
pub(super) fn of_slices(resources: &Resources) -> Vec<ObjectStatus> {
    let faulty = resources.endpoint_slices.iter().filter_map(|(key, entry)| {
        let Entry { object, source, .. } = entry;
        let fault = endpoints::fault(object)?;
        let condition = verdict(
            "Accepted",
            Some(&fault),
            "Accepted",
            generation(&object.metadata),
        );
        Some(status(
            "EndpointSlice",
            key,
            source,
            Scope::Object,
            vec![condition],
        ))
    });
    faulty.collect()
}

fn status(
    kind: &'static str,
    key: &ObjectKey,
    source: &str,
    scope: Scope,
    conditions: Vec<Condition>,
) -> ObjectStatus {
    ObjectStatus {
        kind,
        key: key.clone(),
        source: source.to_owned(),
        scope,
        conditions,
    }
}

/// False with the fault, or True with `good`.
fn verdict(
    type_: &'static str,
    fault: Option<&Fault>,
    good: &'static str,
    generation: i64,
) -> Condition {
    match fault {
        Some(fault) => Condition::new(
            type_,
            ConditionStatus::False,
            fault.reason,
            &fault.message,
            generation,
        ),
        None => Condition::new(type_, ConditionStatus::True, good, "", generation),
    }
}

/// False with the first fault's reason and what all of them say.
fn all(type_: &'static str, faults: &[Fault], good: &'static str, generation: i64) -> Condition {
    let fault = faults
        .first()
        .map(|first| Fault::new(first.reason, summary(faults)));
    verdict(type_, fault.as_ref(), good, generation)
}

fn generation(metadata: &ObjectMeta) -> i64 {
    metadata.generation.unwrap_or_default()
}
