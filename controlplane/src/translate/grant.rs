//! ReferenceGrants: whether an object may refer into another namespace.

use super::Fault;
use crate::resources::{ObjectKey, Resources};

/// The object that refers, by kind and namespace.
pub(super) struct From<'a> {
    pub group: &'a str,
    pub kind: &'a str,
    pub namespace: &'a str,
}

/// The object that is referred to.
pub(super) struct To<'a> {
    pub group: &'a str,
    pub kind: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
}

/// True within a namespace, and across where a grant in the target's namespace says so.
pub(super) fn permits(resources: &Resources, from: &From<'_>, to: &To<'_>) -> bool {
    from.namespace == to.namespace
        || resources
            .reference_grants
            .range(ObjectKey::new(to.namespace, "")..)
            .take_while(|(key, _)| key.namespace == to.namespace)
            .map(|(_, entry)| &entry.object.spec)
            .any(|grant| {
                grant.from.iter().any(|allowed| {
                    allowed.group == from.group
                        && allowed.kind == from.kind
                        && allowed.namespace == from.namespace
                }) && grant.to.iter().any(|allowed| {
                    let name = allowed.name.as_deref().unwrap_or_default();
                    allowed.group == to.group
                        && allowed.kind == to.kind
                        && (name.is_empty() || name == to.name)
                })
            })
}

/// As a fault of the reference at `field`.
pub(super) fn check(
    resources: &Resources,
    from: &From<'_>,
    to: &To<'_>,
    field: &str,
) -> Result<(), Fault> {
    if permits(resources, from, to) {
        return Ok(());
    }
    let message = format!(
        "{field}: {} {}/{} may not be referred to from here; {}",
        to.kind,
        to.namespace,
        to.name,
        remedy(from, to)
    );
    Err(Fault::new("RefNotPermitted", message))
}

/// What to do where there is none.
pub(super) fn remedy(from: &From<'_>, to: &To<'_>) -> String {
    format!(
        "add a ReferenceGrant in namespace {} from {} of namespace {} to {} {}",
        to.namespace, from.kind, from.namespace, to.kind, to.name
    )
}
