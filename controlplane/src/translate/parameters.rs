//! GatewayParameters: found by reference, judged, and laid over one another.

use std::collections::BTreeMap;

use super::Fault;
use crate::{
    gateway_api::{GatewayClass, GatewaySpec, ParametersReference},
    policy::{DisruptionBudget, GROUP, GatewayParametersSpec, ServiceParameters},
    resources::{ObjectKey, Resources},
};

/// Those of a class.
pub(super) fn of_class(
    resources: &Resources,
    class: &GatewayClass,
) -> Result<GatewayParametersSpec, Fault> {
    match &class.spec.parameters_ref {
        Some(reference) => resolve(resources, reference, None, "spec.parametersRef"),
        None => Ok(GatewayParametersSpec::default()),
    }
}

/// Those of a Gateway, laid over its class's.
pub(super) fn of_gateway(
    resources: &Resources,
    key: &ObjectKey,
    gateway: &GatewaySpec,
    of_class: &GatewayParametersSpec,
) -> Result<GatewayParametersSpec, Fault> {
    let infrastructure = gateway.infrastructure.as_ref();
    let Some(reference) = infrastructure.and_then(|one| one.parameters_ref.as_ref()) else {
        return Ok(of_class.clone());
    };
    let field = "spec.infrastructure.parametersRef";
    let own = resolve(resources, reference, Some(&key.namespace), field)?;
    let both = overlay(of_class, &own);
    match check(&both) {
        Ok(()) => Ok(both),
        Err(problem) => Err(Fault::new(
            "InvalidParameters",
            format!("{field}: together with the GatewayClass's parameters, spec.{problem}"),
        )),
    }
}

/// What `reference`, in the field `field`, refers to. `namespace` is the only one that it
/// may be in; absent, as with a class, it must say.
fn resolve(
    resources: &Resources,
    reference: &ParametersReference,
    namespace: Option<&str>,
    field: &str,
) -> Result<GatewayParametersSpec, Fault> {
    let invalid = |problem: String| Fault::new("InvalidParameters", format!("{field}{problem}"));
    let ParametersReference {
        group, kind, name, ..
    } = reference;
    if group != GROUP || kind != "GatewayParameters" {
        return Err(invalid(format!(
            ": kind {kind} of group `{group}` is not supported; refer to a GatewayParameters of {GROUP}, or remove it"
        )));
    }
    let named = reference
        .namespace
        .as_deref()
        .filter(|name| !name.is_empty());
    let namespace = match (namespace, named) {
        (Some(own), named) if named.is_none_or(|named| named == own) => own,
        (None, Some(named)) => named,
        (Some(own), _) => {
            return Err(invalid(format!(
                ".namespace: must be the Gateway's, {own}; remove it"
            )));
        }
        (None, None) => {
            return Err(invalid(
                ".namespace: is missing; write that of the GatewayParameters".to_owned(),
            ));
        }
    };
    let key = ObjectKey::new(namespace, name);
    let entry = resources.gateway_parameters.get(&key).ok_or_else(|| {
        invalid(format!(
            ": there is no GatewayParameters {key}; create it, or correct the name"
        ))
    })?;
    let spec = &entry.object.spec;
    match check(spec) {
        Ok(()) => Ok(spec.clone()),
        Err(problem) => Err(invalid(format!(
            ": GatewayParameters {key}: spec.{problem}"
        ))),
    }
}

/// What the kind's own rules exclude: files have no API server that would keep them.
fn check(spec: &GatewayParametersSpec) -> Result<(), String> {
    if spec.replicas.is_some() && spec.autoscaling.is_some() {
        return Err("replicas: excludes autoscaling; remove one of them".to_owned());
    }
    within("replicas", spec.replicas, 0, 1000)?;
    within("shards", spec.shards, 1, 256)?;
    within("drainSeconds", spec.drain_seconds, 0, 86_400)?;
    let grace = spec.termination_grace_period_seconds;
    within("terminationGracePeriodSeconds", grace, 1, 86_400)?;
    if let (Some(drain), Some(grace)) = (spec.drain_seconds, grace)
        && drain >= grace
    {
        return Err("drainSeconds: must be less than terminationGracePeriodSeconds".to_owned());
    }
    if let Some(scaling) = &spec.autoscaling {
        within(
            "autoscaling.maxReplicas",
            Some(scaling.max_replicas),
            1,
            1000,
        )?;
        let most = i64::from(scaling.max_replicas);
        within("autoscaling.minReplicas", scaling.min_replicas, 1, most)?;
        let target = scaling.target_cpu_utilization_percentage;
        within("autoscaling.targetCPUUtilizationPercentage", target, 1, 100)?;
    }
    one_of(
        "imagePullPolicy",
        spec.image_pull_policy.as_deref(),
        &["Always", "IfNotPresent", "Never"],
    )?;
    let no_service = ServiceParameters::default();
    let service = spec.service.as_ref().unwrap_or(&no_service);
    let type_ = service.type_.as_deref();
    one_of(
        "service.type",
        type_,
        &["LoadBalancer", "NodePort", "ClusterIP"],
    )?;
    let policy = service.external_traffic_policy.as_deref();
    one_of(
        "service.externalTrafficPolicy",
        policy,
        &["Cluster", "Local"],
    )?;
    if policy.is_some() && type_ == Some("ClusterIP") {
        return Err(
            "service.externalTrafficPolicy: is not for the type ClusterIP; remove it".to_owned(),
        );
    }
    if service.load_balancer_class.is_some() && type_.is_some_and(|type_| type_ != "LoadBalancer") {
        return Err(
            "service.loadBalancerClass: is for the type LoadBalancer; remove it".to_owned(),
        );
    }
    match &spec.pod_disruption_budget {
        Some(DisruptionBudget {
            min_available,
            max_unavailable,
        }) if min_available.is_some() == max_unavailable.is_some() => {
            Err("podDisruptionBudget: write one of minAvailable and maxUnavailable".to_owned())
        }
        _ => Ok(()),
    }
}

pub(super) fn within(
    field: &str,
    value: Option<impl Into<i64>>,
    least: i64,
    most: i64,
) -> Result<(), String> {
    match value.map(Into::into) {
        Some(number) if !(least..=most).contains(&number) => Err(format!(
            "{field}: {number} is out of range; write a number from {least} to {most}"
        )),
        _ => Ok(()),
    }
}

pub(super) fn one_of(field: &str, value: Option<&str>, words: &[&str]) -> Result<(), String> {
    match value {
        Some(word) if !words.contains(&word) => Err(format!(
            "{field}: `{word}` is not supported; write one of {}",
            words.join(", ")
        )),
        _ => Ok(()),
    }
}

/// `over` where it says something, else `under`. Labels, annotations and the like are
/// joined key by key; everything else is taken whole.
fn overlay(under: &GatewayParametersSpec, over: &GatewayParametersSpec) -> GatewayParametersSpec {
    let (under, over) = (under.clone(), over.clone());
    // One way of counting pods goes in place of the other.
    let (replicas, autoscaling) = match (over.replicas, over.autoscaling) {
        (None, None) => (under.replicas, under.autoscaling),
        own => own,
    };
    GatewayParametersSpec {
        replicas,
        autoscaling,
        resources: over.resources.or(under.resources),
        node_selector: joined(under.node_selector, over.node_selector),
        tolerations: filled(over.tolerations, under.tolerations),
        affinity: over.affinity.or(under.affinity),
        topology_spread_constraints: filled(
            over.topology_spread_constraints,
            under.topology_spread_constraints,
        ),
        host_network: over.host_network.or(under.host_network),
        shards: over.shards.or(under.shards),
        image: over.image.or(under.image),
        image_pull_policy: over.image_pull_policy.or(under.image_pull_policy),
        log_filter: over.log_filter.or(under.log_filter),
        termination_grace_period_seconds: over
            .termination_grace_period_seconds
            .or(under.termination_grace_period_seconds),
        drain_seconds: over.drain_seconds.or(under.drain_seconds),
        service: match (under.service, over.service) {
            (Some(under), Some(over)) => Some(service(under, over)),
            (under, over) => over.or(under),
        },
        pod_annotations: joined(under.pod_annotations, over.pod_annotations),
        pod_labels: joined(under.pod_labels, over.pod_labels),
        pod_disruption_budget: over.pod_disruption_budget.or(under.pod_disruption_budget),
        otlp_endpoint: over.otlp_endpoint.or(under.otlp_endpoint),
    }
}

fn service(under: ServiceParameters, over: ServiceParameters) -> ServiceParameters {
    let type_ = over.type_.or(under.type_);
    let is = |word| type_.as_deref() == Some(word);
    // What does not go with another type is not handed down to it.
    let policy = under.external_traffic_policy.filter(|_| !is("ClusterIP"));
    let class = under
        .load_balancer_class
        .filter(|_| !is("ClusterIP") && !is("NodePort"));
    ServiceParameters {
        annotations: joined(under.annotations, over.annotations),
        external_traffic_policy: over.external_traffic_policy.or(policy),
        load_balancer_class: over.load_balancer_class.or(class),
        type_,
    }
}

type Map = BTreeMap<String, String>;

fn joined(mut under: Map, over: Map) -> Map {
    under.extend(over);
    under
}

fn filled<T>(over: Vec<T>, under: Vec<T>) -> Vec<T> {
    if over.is_empty() { under } else { over }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Autoscaling;

    #[test]
    fn the_gateways_word_goes_before_the_classs() {
        let of_class = GatewayParametersSpec {
            autoscaling: Some(Autoscaling {
                max_replicas: 9,
                ..Default::default()
            }),
            image: Some("of-class".to_owned()),
            shards: Some(2),
            pod_labels: [("a", "class"), ("b", "class")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..Default::default()
        };
        let of_gateway = GatewayParametersSpec {
            replicas: Some(3),
            image: Some("of-gateway".to_owned()),
            pod_labels: [("b".to_owned(), "gateway".to_owned())].into(),
            ..Default::default()
        };
        let both = overlay(&of_class, &of_gateway);
        assert_eq!(both.autoscaling, None);
        assert_eq!((both.replicas, both.shards), (Some(3), Some(2)));
        assert_eq!(both.image.as_deref(), Some("of-gateway"));
        assert_eq!(both.pod_labels["a"], "class");
        assert_eq!(both.pod_labels["b"], "gateway");
        assert_eq!(
            overlay(&of_class, &GatewayParametersSpec::default()),
            of_class
        );
    }

    #[test]
    fn what_was_joined_still_keeps_to_the_rules() {
        let of_class = GatewayParametersSpec {
            drain_seconds: Some(100),
            ..Default::default()
        };
        let of_gateway = GatewayParametersSpec {
            termination_grace_period_seconds: Some(30),
            ..Default::default()
        };
        let problem = check(&overlay(&of_class, &of_gateway)).unwrap_err();
        assert!(problem.contains("drainSeconds"), "{problem}");
    }
}
