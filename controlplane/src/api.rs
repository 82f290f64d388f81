//! The operator's API: one port, guarded by one token or by the cluster.
//!
//! REST for people and scripts (`rest`, described at `/openapi.json`, browsable at
//! `/docs`) and the same as gRPC (`grpc`). Both are thin: what can be done is in
//! `operations`, what can go wrong in `failure`. `/healthz`, `/readyz` and `/metrics`
//! need no token. Never here: state. What is asked for lives in the fleet and the
//! history.

mod access;
mod failure;
mod grpc;
mod measure;
mod operations;
mod probes;
pub(crate) mod respond;
pub(crate) mod rest;
pub mod types;

use std::sync::Arc;

use axum::{Router, middleware, response::Response};
use http::{Method, StatusCode, Uri};
use tonic::server::NamedService;
use utoipa_swagger_ui::SwaggerUi;

use self::respond::problem_response;
pub(crate) use self::{
    access::{Access, Cluster, token},
    measure::Measure,
    operations::Operations,
    probes::Probes,
};

/// Every route of the admin port.
pub(crate) fn router(
    operations: Operations,
    access: &Access,
    probes: Arc<Probes>,
    measure: Measure,
) -> Router {
    let (rest, description) = rest::router();
    let rest = rest
        .with_state(operations.clone())
        .route_layer(middleware::from_fn_with_state(
            access.clone(),
            access::guard,
        ));
    let grpc_path = format!("/{}/{{*method}}", <grpc::Service as NamedService>::NAME);
    let grpc = Router::new()
        .route_service(&grpc_path, grpc::service(operations.clone()))
        .route_layer(middleware::from_fn_with_state(
            access.clone(),
            access::guard_grpc,
        ));
    Router::new()
        .merge(rest)
        .merge(probes::router(operations, probes))
        .merge(SwaggerUi::new("/docs").url("/openapi.json", description))
        .merge(grpc)
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        .layer(middleware::from_fn_with_state(measure, measure::measure))
}

/// What machines ask, alone: for a port without TLS.
pub(crate) fn probes_router(operations: Operations, probes: Arc<Probes>) -> Router {
    probes::router(operations, probes).fallback(unknown_path)
}

async fn unknown_path(uri: Uri) -> Response {
    let detail = format!("there is nothing at {}: see /docs", uri.path());
    problem_response(StatusCode::NOT_FOUND, detail)
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let detail = format!("{method} is not understood at {}: see /docs", uri.path());
    problem_response(StatusCode::METHOD_NOT_ALLOWED, detail)
}

#[cfg(test)]
mod tests;
