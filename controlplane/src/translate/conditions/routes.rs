//! What is said of HTTPRoutes and of the policies for what they lead to.

use std::collections::BTreeMap;

use super::{all, generation, status, verdict};
use crate::{
    gateway_api::{GROUP, ParentReference},
    resources::ObjectKey,
    status::{Condition, ConditionStatus, ObjectStatus, Scope},
    translate::{
        backend_tls::PolicyPlan,
        fault::summary,
        route::{ParentPlan, RoutePlan},
    },
};

/// Of HTTPRoutes, one for each parent.
pub(in crate::translate) fn of_routes(routes: &[RoutePlan<'_>]) -> Vec<ObjectStatus> {
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
pub(in crate::translate) fn of_policies(
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
