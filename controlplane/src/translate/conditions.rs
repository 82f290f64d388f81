//! Plans told as conditions.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{
    Fault, Options,
    backend_tls::PolicyPlan,
    class::Classes,
    endpoints,
    fault::summary,
    gateway::GatewayPlan,
    listener::ListenerPlan,
    route::{ParentPlan, RoutePlan},
};
use crate::{
    gateway_api::{GROUP, ParentReference},
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

/// Of Gateways and their listeners.
pub(super) fn of_gateways(
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
                Scope::Object,
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
                Scope::Object,
                vec![condition],
            ));
        }
    }
    statuses
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

/// Of HTTPRoutes, one for each parent.
pub(super) fn of_routes(routes: &[RoutePlan<'_>]) -> Vec<ObjectStatus> {
    let mut statuses = Vec::new();
    for plan in routes {
        let source = &plan.entry.source;
        for parent in &plan.parents {
            let scope = Scope::Parent(parent.reference.clone());
            statuses.push(status(
                "HTTPRoute",
                &plan.key,
                source,
                scope,
                of_parent(plan, parent),
            ));
        }
        if plan.entry.object.spec.parent_refs.is_empty() && !source.is_empty() {
            let message = "spec.parentRefs: is empty; name the Gateway that is to serve the route";
            let generation = generation(&plan.entry.object.metadata);
            let condition = Condition::new(
                "Accepted",
                ConditionStatus::False,
                "NoMatchingParent",
                message,
                generation,
            );
            statuses.push(status(
                "HTTPRoute",
                &plan.key,
                source,
                Scope::Object,
                vec![condition],
            ));
        }
    }
    statuses
}

fn of_parent(plan: &RoutePlan<'_>, parent: &ParentPlan<'_>) -> Vec<Condition> {
    let generation = generation(&plan.entry.object.metadata);
    let refused = parent.refused.as_ref().or(plan.refused.as_ref());
    let mut accepted = verdict("Accepted", refused, "Accepted", generation);
    if refused.is_none() {
        accepted.message = plan.ignored.join("; ");
    }
    let mut conditions = vec![
        accepted,
        all("ResolvedRefs", &plan.unresolved, "ResolvedRefs", generation),
    ];
    if refused.is_none()
        && let Some(first) = plan.partial.first()
    {
        // The API asks for these first words where a rule is not in service.
        let message = format!("Dropped Rule: {}", summary(&plan.partial));
        conditions.push(Condition::new(
            "PartiallyInvalid",
            ConditionStatus::True,
            first.reason,
            message,
            generation,
        ));
    }
    conditions
}

/// Of BackendTLSPolicies, one for each Gateway with a route to what they target.
pub(super) fn of_policies(
    policies: &BTreeMap<ObjectKey, PolicyPlan<'_>>,
    routes: &[RoutePlan<'_>],
) -> Vec<ObjectStatus> {
    let mut statuses = Vec::new();
    for (key, plan) in policies {
        let generation = generation(&plan.entry.object.metadata);
        let conditions = vec![
            verdict("Accepted", plan.refused.as_ref(), "Accepted", generation),
            all("ResolvedRefs", &plan.unresolved, "ResolvedRefs", generation),
        ];
        let mut scopes: Vec<_> = ancestors(plan, routes)
            .into_iter()
            .map(Scope::Parent)
            .collect();
        if scopes.is_empty() {
            scopes.push(Scope::Object);
        }
        let each = scopes.into_iter();
        statuses.extend(each.map(|scope| {
            status(
                "BackendTLSPolicy",
                key,
                &plan.entry.source,
                scope,
                conditions.clone(),
            )
        }));
    }
    statuses
}

fn ancestors(plan: &PolicyPlan<'_>, routes: &[RoutePlan<'_>]) -> Vec<ParentReference> {
    let leading = routes
        .iter()
        .filter(|route| !route.services.is_disjoint(&plan.services));
    let mut gateways: Vec<_> = leading
        .flat_map(|route| &route.parents)
        .filter(|parent| parent.refused.is_none())
        .filter_map(|parent| parent.gateway.clone())
        .collect();
    gateways.sort();
    gateways.dedup();
    let reference = |gateway: ObjectKey| ParentReference {
        group: Some(GROUP.to_owned()),
        kind: Some("Gateway".to_owned()),
        namespace: Some(gateway.namespace),
        name: gateway.name,
        ..Default::default()
    };
    gateways.into_iter().map(reference).collect()
}

/// Of EndpointSlices, only those that cannot be used in full.
pub(super) fn of_slices(resources: &Resources) -> Vec<ObjectStatus> {
    let faulty = resources.endpoint_slices.iter().filter_map(|(key, entry)| {
        let Entry { object, source } = entry;
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
