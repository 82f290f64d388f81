//! ReferenceGrant and BackendTLSPolicy.

use super::{
    at::At,
    form::{CA_SET, HOSTNAME, PRECISE_HOSTNAME, SECTION, URI},
    reference,
};

pub(super) fn reference_grant(at: &At<'_>) {
    let Some(spec) = at.field("spec") else { return };
    for list in ["from", "to"] {
        spec.not_empty(list);
        for one in spec.items(list) {
            reference::object(&one);
        }
    }
}

pub(super) fn backend_tls(at: &At<'_>) {
    let Some(spec) = at.field("spec") else { return };
    spec.not_empty("targetRefs");
    let targets = spec.items("targetRefs");
    for target in &targets {
        reference::object(target);
        target.form("sectionName", &SECTION);
    }
    reference::distinct(&targets, &["group", "kind", "name"], |_| None);
    if let Some(validation) = spec.field("validation") {
        check_validation(&validation);
    }
}

fn check_validation(at: &At<'_>) {
    at.form("hostname", &PRECISE_HOSTNAME);
    at.form("wellKnownCACertificates", &CA_SET);
    let authorities = at.items("caCertificateRefs");
    for authority in &authorities {
        reference::object(authority);
    }
    let well_known = at.has("wellKnownCACertificates");
    match (authorities.is_empty(), well_known) {
        (false, true) => at.refuse(
            "wellKnownCACertificates",
            "is there beside caCertificateRefs",
            "keep one of the two",
        ),
        (true, false) => at.refuse(
            "caCertificateRefs",
            "is missing, and so is wellKnownCACertificates",
            "write one of the two",
        ),
        _ => {}
    }
    for name in at.items("subjectAltNames") {
        name.one_of("type", &["Hostname", "URI"]);
        name.form("hostname", &HOSTNAME);
        name.form("uri", &URI);
        if ["Hostname", "URI"].contains(&name.text("type").unwrap_or_default()) {
            name.union(&[("Hostname", "hostname"), ("URI", "uri")]);
        }
    }
}
