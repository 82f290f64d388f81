//! One rule of an HTTPRoute.

use tidegate_proto::v1;

use super::{Fault, backend::Backends, duration, filter, matches};
use crate::{
    gateway_api::{HttpBackendRef, HttpPathMatch, HttpRouteFilter, HttpRouteRule},
    resources::ObjectKey,
};

/// What became of a rule.
#[derive(Default)]
pub(super) struct RulePlan {
    /// Absent: what it matches cannot be told. A rule that is refused for anything else
    /// answers its requests with 500, lest they fall to a rule that lacks its filters.
    pub rule: Option<v1::Rule>,
    /// Why it is not in service as written.
    pub refused: Option<Fault>,
    /// Why some of its backends get no requests.
    pub partial: Vec<Fault>,
    /// Backends that it refers to in vain.
    pub unresolved: Vec<Fault>,
    /// What is left out without harm.
    pub ignored: Vec<String>,
    /// Services that it refers to.
    pub services: Vec<ObjectKey>,
}

/// The rule at `field` of a route in `namespace`.
pub(super) fn plan(
    backends: &mut Backends<'_>,
    namespace: &str,
    spec: &HttpRouteRule,
    field: &str,
) -> RulePlan {
    let mut plan = RulePlan::default();
    for (name, given) in [
        ("retry", spec.retry.is_some()),
        ("sessionPersistence", spec.session_persistence.is_some()),
    ] {
        if given {
            plan.ignored
                .push(format!("{field}.{name} is not supported and left out"));
        }
    }
    let mut rule = v1::Rule {
        name: spec.name.clone().unwrap_or_default(),
        ..Default::default()
    };
    for (index, one) in spec.matches.iter().enumerate() {
        match matches::translate(one, &format!("{field}.matches[{index}]")) {
            Ok(one) => rule.matches.push(one),
            Err(fault) => {
                plan.refused = Some(fault);
                return plan;
            }
        }
    }
    // Backends are looked up in a refused rule too: their faults are worth knowing at once.
    let refs: Vec<_> = spec
        .backend_refs
        .iter()
        .enumerate()
        .map(|(index, one)| {
            backend_ref(
                backends,
                namespace,
                one,
                spec,
                &format!("{field}.backendRefs[{index}]"),
                &mut plan,
            )
        })
        .collect();
    match fill(&mut rule, spec, field) {
        Ok(()) => rule.backends = refs,
        Err(fault) => {
            rule = v1::Rule {
                name: rule.name,
                matches: rule.matches,
                ..Default::default()
            };
            plan.refused = Some(fault);
        }
    }
    plan.rule = Some(rule);
    plan
}

/// Filters and time-outs.
fn fill(rule: &mut v1::Rule, spec: &HttpRouteRule, field: &str) -> Result<(), Fault> {
    rule.filters = filter::translate(&spec.filters, &format!("{field}.filters"))?;
    check_prefix(&spec.filters, spec, &format!("{field}.filters"))?;
    let redirects = spec
        .filters
        .iter()
        .any(|filter| filter.type_ == "RequestRedirect");
    if redirects && !spec.backend_refs.is_empty() {
        return Err(Fault::unsupported(
            format_args!("{field}.backendRefs"),
            "nothing reaches them beside a RequestRedirect; remove either",
        ));
    }
    let Some(timeouts) = &spec.timeouts else {
        return Ok(());
    };
    let read = |value: &Option<String>, name: &str| {
        let parse = |text: &String| {
            duration::milliseconds(text).map_err(|problem| {
                Fault::unsupported(format_args!("{field}.timeouts.{name}"), problem)
            })
        };
        value.as_ref().map(parse).transpose()
    };
    rule.request_timeout_ms = read(&timeouts.request, "request")?;
    rule.backend_request_timeout_ms = read(&timeouts.backend_request, "backendRequest")?;
    if let (Some(request), Some(backend)) =
        (rule.request_timeout_ms, rule.backend_request_timeout_ms)
        && request > 0
        && backend > request
    {
        return Err(Fault::unsupported(
            format_args!("{field}.timeouts.backendRequest"),
            "is longer than timeouts.request; shorten it",
        ));
    }
    Ok(())
}

/// `ReplacePrefixMatch` needs a prefix, in every match.
fn check_prefix(
    filters: &[HttpRouteFilter],
    spec: &HttpRouteRule,
    field: &str,
) -> Result<(), Fault> {
    let is_prefix =
        |path: &HttpPathMatch| path.type_.as_deref().unwrap_or("PathPrefix") == "PathPrefix";
    let all_prefixes = spec
        .matches
        .iter()
        .all(|one| one.path.as_ref().is_none_or(is_prefix));
    match filters.iter().position(filter::replaces_prefix) {
        Some(index) if !all_prefixes => Err(Fault::unsupported(
            format_args!("{field}[{index}]"),
            "ReplacePrefixMatch needs path matches of type PathPrefix; use ReplaceFullPath",
        )),
        _ => Ok(()),
    }
}

/// A reference in vain keeps its weight: its share of the requests gets 500.
fn backend_ref(
    backends: &mut Backends<'_>,
    namespace: &str,
    spec: &HttpBackendRef,
    rule: &HttpRouteRule,
    field: &str,
    plan: &mut RulePlan,
) -> v1::BackendRef {
    let mut backend = v1::BackendRef {
        weight: 1,
        ..Default::default()
    };
    match u32::try_from(spec.weight.unwrap_or(1))
        .ok()
        .filter(|weight| *weight <= 1_000_000)
    {
        Some(weight) => backend.weight = weight,
        None => {
            let problem = "is no weight; write a number from 0 to 1000000";
            plan.partial
                .push(Fault::unsupported(format_args!("{field}.weight"), problem));
            return backend;
        }
    }
    let resolved = match backends.resolve(namespace, spec, field) {
        Ok(resolved) => resolved,
        Err(fault) => {
            plan.unresolved.push(fault);
            return backend;
        }
    };
    plan.services.push(resolved.service);
    match backend_filters(spec, rule, &format!("{field}.filters")) {
        Ok(filters) => {
            backend.filters = filters;
            backend.backend_id = resolved.id;
        }
        Err(fault) => {
            plan.partial.push(fault);
        }
    }
    backend
}

fn backend_filters(
    spec: &HttpBackendRef,
    rule: &HttpRouteRule,
    field: &str,
) -> Result<Vec<v1::Filter>, Fault> {
    if let Some(index) = spec
        .filters
        .iter()
        .position(|filter| filter.type_ == "RequestRedirect")
    {
        return Err(Fault::unsupported(
            format_args!("{field}[{index}].type"),
            "a backend cannot redirect; put the RequestRedirect into the rule's filters",
        ));
    }
    check_prefix(&spec.filters, rule, field)?;
    filter::translate(&spec.filters, field)
}
