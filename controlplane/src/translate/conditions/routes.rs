//! What is said of routes and of the policies for what they lead to.

use std::collections::{BTreeMap, BTreeSet};

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

/// Of routes, one for each parent.
pub(in crate::translate) fn of_routes(routes: &[RoutePlan<'_>]) -> Vec<ObjectStatus> {
    let mut statuses = Vec::new();
    for plan in routes {
        let form = &plan.form;
        let of_scope =
            |scope, conditions| status(form.kind.name(), form.key, form.source, scope, conditions);
        for parent in &plan.parents {
            let scope = Scope::Parent(parent.reference.clone());
            statuses.push(of_scope(scope, of_parent(plan, parent)));
        }
        if form.parents.is_empty() && !form.source.is_empty() {
            let message = "spec.parentRefs: is empty; name the Gateway that is to serve the route";
            let condition = Condition::new(
                "Accepted",
                ConditionStatus::False,
                "NoMatchingParent",
                message,
                generation(form.metadata),
            );
            statuses.push(of_scope(Scope::Object, vec![condition]));
        }
    }
    statuses
}

fn of_parent(plan: &RoutePlan<'_>, parent: &ParentPlan<'_>) -> Vec<Condition> {
    let generation = generation(plan.form.metadata);
    let refused = parent.refused.as_ref().or(plan.refused.as_ref());
    let mut accepted = verdict("Accepted", refused, "Accepted", generation);
    if refused.is_none() {
        let remarks: Vec<_> = plan
            .ignored
            .iter()
            .chain(&parent.partial)
            .cloned()
            .collect();
        accepted.message = remarks.join("; ");
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
    let gateways = gateways_by_service(routes);
    let mut statuses = Vec::new();
    for (key, plan) in policies {
        let generation = generation(&plan.entry.object.metadata);
        let conditions = vec![
            verdict("Accepted", plan.refused.as_ref(), "Accepted", generation),
            all("ResolvedRefs", &plan.unresolved, "ResolvedRefs", generation),
        ];
        let source = &plan.entry.source;
        let ancestors = plan
            .services
            .iter()
            .filter_map(|service| gateways.get(service));
        let ancestors: BTreeSet<_> = ancestors.flatten().copied().collect();
        let scopes = ancestors.into_iter().map(reference).map(Scope::Parent);
        let mut scopes: Vec<_> = scopes.take(MOST_ANCESTORS).collect();
        // In Kubernetes there is no place to tell of a policy that nothing leads to.
        if scopes.is_empty() && !source.is_empty() {
            scopes.push(Scope::Object);
        }
        let each = scopes.into_iter();
        statuses.extend(
            each.map(|scope| status("BackendTLSPolicy", key, source, scope, conditions.clone())),
        );
    }
    statuses
}

/// The Gateways with routes to each Service.
fn gateways_by_service<'p>(
    routes: &'p [RoutePlan<'_>],
) -> BTreeMap<&'p ObjectKey, BTreeSet<&'p ObjectKey>> {
    let mut gateways: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for route in routes {
        let parents = route.parents.iter();
        let attached = parents.filter(|parent| parent.refused.is_none());
        let attached: Vec<_> = attached.filter_map(|one| one.gateway.as_ref()).collect();
        for service in &route.services {
            gateways.entry(service).or_default().extend(&attached);
        }
    }
    gateways
}

fn reference(gateway: &ObjectKey) -> ParentReference {
    ParentReference {
        group: Some(GROUP.to_owned()),
        kind: Some("Gateway".to_owned()),
        namespace: Some(gateway.namespace.clone()),
        name: gateway.name.clone(),
        ..Default::default()
    }
}

/// As many as `status.ancestors` may have.
const MOST_ANCESTORS: usize = 16;
