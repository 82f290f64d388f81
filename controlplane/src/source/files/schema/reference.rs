//! References between objects.

use std::collections::BTreeSet;

use super::{
    at::At,
    form::{GROUP, KIND, NAMESPACE, OBJECT, SECTION},
};

/// Group, kind, name and namespace, as far as they are there. Decoding, or
/// [`required`], sees to those that must be.
pub(super) fn object(at: &At<'_>) {
    at.form("group", &GROUP);
    at.form("kind", &KIND);
    at.form("name", &OBJECT);
    at.form("namespace", &NAMESPACE);
}

/// A reference that nothing decodes, so that nobody else misses its fields.
pub(super) fn required(at: &At<'_>, fields: &[&str]) {
    for field in fields {
        at.needs(field);
    }
    object(at);
}

/// A backend: one that is a Service needs a port.
pub(super) fn backend(at: &At<'_>) {
    object(at);
    at.port("port");
    let is_service = at.text("group").unwrap_or_default().is_empty()
        && at.text("kind").is_none_or(|kind| kind == "Service");
    if is_service && !at.has("port") {
        at.refuse(
            "port",
            "is missing, and the backend is a Service",
            "write the Service's port",
        );
    }
}

/// `parentRefs` of a route. Those to the same parent must all name a section or none,
/// and no two may be the same.
pub(super) fn parents(spec: &At<'_>) {
    let parents = spec.items("parentRefs");
    for parent in &parents {
        object(parent);
        parent.form("sectionName", &SECTION);
        parent.port("port");
    }
    distinct(&parents, &["kind", "group", "name", "namespace"], |at| {
        at.number("port")
    });
}

/// No two references may be to the same section, nor one to the whole of what another
/// has a section of. `identity` are the fields that tell objects apart, `detail` what else
/// tells sections apart.
pub(super) fn distinct(
    references: &[At<'_>],
    identity: &[&str],
    detail: fn(&At<'_>) -> Option<i64>,
) {
    let mut seen = BTreeSet::new();
    let mut styles = BTreeSet::new();
    for at in references {
        let value = |field: &&str| match (*field, at.text(field).unwrap_or_default()) {
            // The defaults of a parent.
            ("kind", "") => "Gateway".to_owned(),
            ("group", "") if !at.has("group") => crate::gateway_api::GROUP.to_owned(),
            (_, text) => text.to_owned(),
        };
        let object: Vec<_> = identity.iter().map(value).collect();
        let section = at.text("sectionName").unwrap_or_default();
        if !seen.insert((object.clone(), section, detail(at))) {
            at.refuse("", "refers to the same as another", "keep one of them");
        } else if styles.contains(&(object.clone(), section.is_empty())) {
            at.refuse(
                "sectionName",
                "is there in one reference to this object and not in another",
                "name a section in each of them",
            );
        }
        styles.insert((object, !section.is_empty()));
    }
}
