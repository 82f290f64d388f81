//! `allowedRoutes`: which routes may attach to a listener.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::Fault;
use crate::{
    gateway_api::{AllowedListeners, AllowedRoutes, GROUP, RouteGroupKind, RouteNamespaces},
    resources::{ObjectKey, Resources},
};

/// The kinds of routes that HTTP and HTTPS listeners serve.
pub(super) const ROUTES: [&str; 2] = ["HTTPRoute", "GRPCRoute"];

/// The kinds of `served` that a listener allows, and what it allows in vain. A listener
/// that says nothing allows all of them.
pub(super) fn kinds(
    allowed: Option<&AllowedRoutes>,
    served: &[&str],
    field: &str,
) -> (Vec<RouteGroupKind>, Option<Fault>) {
    let listed = allowed
        .map(|allowed| allowed.kinds.as_slice())
        .unwrap_or_default();
    let allows = |name: &str| {
        let is_it = |kind: &RouteGroupKind| kind.kind == name && is_ours(kind);
        listed.is_empty() || listed.iter().any(is_it)
    };
    let is_served = |kind: &RouteGroupKind| served.contains(&&*kind.kind) && is_ours(kind);
    let fault = listed
        .iter()
        .position(|kind| !is_served(kind))
        .map(|index| {
            let RouteGroupKind { group, kind } = &listed[index];
            let group = group.as_deref().unwrap_or(GROUP);
            let remedy = if served.is_empty() {
                "remove it".to_owned()
            } else {
                format!("use {}", served.join(" or "))
            };
            Fault::new(
                "InvalidRouteKinds",
                format!(
                    "{field}.kinds[{index}]: {kind} of group `{group}` is not served here; {remedy}"
                ),
            )
        });
    let kinds = served.iter().filter(|name| allows(name));
    let kinds = kinds.map(|name| RouteGroupKind {
        group: Some(GROUP.to_owned()),
        kind: (*name).to_owned(),
    });
    (kinds.collect(), fault)
}

fn is_ours(kind: &RouteGroupKind) -> bool {
    kind.group.as_deref().unwrap_or(GROUP) == GROUP
}

/// Checks the words of `allowedRoutes.namespaces`.
pub(super) fn check_namespaces(allowed: Option<&AllowedRoutes>, field: &str) -> Result<(), Fault> {
    let Some(namespaces) = allowed.and_then(|allowed| allowed.namespaces.as_ref()) else {
        return Ok(());
    };
    match namespaces.from.as_deref() {
        None | Some("Same" | "All" | "None") => Ok(()),
        Some("Selector") => {
            let Some(selector) = &namespaces.selector else {
                return Err(Fault::unsupported(
                    format_args!("{field}.namespaces.selector"),
                    "is missing; give the labels of the namespaces, or use `from: All`",
                ));
            };
            let requirements = selector.match_expressions.iter().flatten();
            match requirements
                .enumerate()
                .find(|(_, requirement)| !OPERATORS.contains(&&*requirement.operator))
            {
                Some((index, requirement)) => Err(Fault::unsupported(
                    format_args!("{field}.namespaces.selector.matchExpressions[{index}].operator"),
                    format_args!(
                        "`{}` is none of {}",
                        requirement.operator,
                        OPERATORS.join(", ")
                    ),
                )),
                None => Ok(()),
            }
        }
        Some(other) => Err(Fault::unsupported(
            format_args!("{field}.namespaces.from"),
            format_args!("`{other}` is none of Same, All, Selector, None"),
        )),
    }
}

/// Whether routes of `namespace` may attach to a listener that is written in `home`.
pub(super) fn admits_namespace(
    resources: &Resources,
    allowed: Option<&AllowedRoutes>,
    home: &str,
    namespace: &str,
) -> bool {
    let namespaces = allowed.and_then(|allowed| allowed.namespaces.as_ref());
    admits(resources, namespaces, "Same", home, namespace)
}

/// Whether ListenerSets of `namespace` may add to a Gateway of `home`.
pub(super) fn admits_set(
    resources: &Resources,
    allowed: Option<&AllowedListeners>,
    home: &str,
    namespace: &str,
) -> bool {
    let namespaces = allowed.and_then(|allowed| allowed.namespaces.as_ref());
    admits(resources, namespaces, "None", home, namespace)
}

fn admits(
    resources: &Resources,
    namespaces: Option<&RouteNamespaces>,
    default: &str,
    home: &str,
    namespace: &str,
) -> bool {
    match namespaces
        .and_then(|namespaces| namespaces.from.as_deref())
        .unwrap_or(default)
    {
        "All" => true,
        "Same" => home == namespace,
        "Selector" => namespaces
            .and_then(|namespaces| namespaces.selector.as_ref())
            .is_some_and(|selector| selects(selector, &labels(resources, namespace))),
        _ => false,
    }
}

/// A namespace's labels, with the one that Kubernetes gives each. A folder of files need
/// not hold the Namespace.
fn labels(resources: &Resources, namespace: &str) -> BTreeMap<String, String> {
    let entry = resources.namespaces.get(&ObjectKey::new("", namespace));
    let mut labels = entry
        .and_then(|entry| entry.object.metadata.labels.clone())
        .unwrap_or_default();
    labels.insert(
        "kubernetes.io/metadata.name".to_owned(),
        namespace.to_owned(),
    );
    labels
}

/// An empty selector selects everything.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector
            .match_expressions
            .iter()
            .flatten()
            .all(|requirement| {
                let value = labels.get(&requirement.key);
                let listed = || {
                    value.is_some_and(|value| {
                        requirement.values.iter().flatten().any(|one| one == value)
                    })
                };
                match requirement.operator.as_str() {
                    "In" => listed(),
                    "NotIn" => !listed(),
                    "Exists" => value.is_some(),
                    "DoesNotExist" => value.is_none(),
                    _ => false,
                }
            })
}

const OPERATORS: [&str; 4] = ["In", "NotIn", "Exists", "DoesNotExist"];
