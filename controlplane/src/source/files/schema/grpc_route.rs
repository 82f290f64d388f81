//! `spec` of a GRPCRoute.

use super::{
    at::At,
    filter,
    form::{GRPC_METHOD, GRPC_SERVICE, HEADER_VALUE, HOSTNAME, SECTION},
    matches, reference,
};

pub(super) fn check(at: &At<'_>) {
    let Some(spec) = at.field("spec") else { return };
    reference::parents(&spec);
    for hostname in spec.items("hostnames") {
        hostname.own_form(&HOSTNAME);
    }
    for rule in spec.items("rules") {
        check_rule(&rule);
    }
}

fn check_rule(rule: &At<'_>) {
    rule.form("name", &SECTION);
    for one in rule.items("matches") {
        if let Some(method) = one.field("method") {
            check_method(&method);
        }
        matches::values(&one, "headers", &HEADER_VALUE);
    }
    filter::check_list(rule, &filter::GRPC);
    for backend in rule.items("backendRefs") {
        reference::backend(&backend);
        backend.range("weight", 0..=1_000_000);
        filter::check_list(&backend, &filter::GRPC);
    }
}

fn check_method(method: &At<'_>) {
    method.one_of("type", &["Exact", "RegularExpression"]);
    if method.text("type").unwrap_or("Exact") == "Exact" {
        method.form("service", &GRPC_SERVICE);
        method.form("method", &GRPC_METHOD);
    }
    if method.has("type") && !method.has("service") && !method.has("method") {
        method.refuse(
            "service",
            "is missing, and so is method",
            "write one of them",
        );
    }
}
