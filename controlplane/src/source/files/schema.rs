//! What a Kubernetes API server would refuse by the schema of an object's kind.
//!
//! Owned here: the forms that values of the Gateway API v1.6 and of the core kinds beside
//! it must have: words out of a list, ranges, names, durations, and unions of which one
//! member is set. With files there is no API server, so this stands in for it; sources
//! that have one never call it. Pure: a value in, what is wrong with it out.
//! Never here: what the API server lets pass and a status tells, which is
//! [`crate::translate`]'s. Limits on how long lists may be are not kept: they spare the
//! API server work, grow from release to release, and nothing here needs them.

mod at;
mod core;
mod filter;
mod form;
mod gateway;
mod grpc_route;
mod http_route;
mod matches;
mod policy;
mod reference;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

use serde_norway::Value;

use self::at::At;

/// A value that its field may not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// Path of the field, like `spec.rules[0].name`.
    pub field: String,
    pub message: String,
    pub remedy: String,
}

/// What is wrong with an object of `kind`, in order of its fields; at most [`MOST`].
/// Fields of another type than the schema's are not judged: decoding refuses those.
pub(super) fn check(kind: &str, object: &Value) -> Vec<Violation> {
    let judge: fn(&At<'_>) = match kind {
        "GatewayClass" => gateway::class,
        "Gateway" => gateway::check,
        "ListenerSet" => gateway::listener_set,
        "HTTPRoute" => http_route::check,
        "GRPCRoute" => grpc_route::check,
        "ReferenceGrant" => policy::reference_grant,
        "BackendTLSPolicy" => policy::backend_tls,
        "Service" => core::service,
        "EndpointSlice" => core::endpoint_slice,
        _ => return Vec::new(),
    };
    let found = RefCell::new(Vec::new());
    judge(&At::root(object, &found));
    found.into_inner()
}

/// More of them at once help nobody; the rest show when these are mended.
const MOST: usize = 16;
