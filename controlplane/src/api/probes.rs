//! What machines ask without a token: alive, ready, metrics.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};

use super::operations::Operations;
use crate::telemetry::Telemetry;

/// Where metrics come from.
pub(crate) struct Probes {
    pub(crate) telemetry: Arc<Telemetry>,
    /// Metrics of whatever else is in the process, as Prometheus text.
    pub(crate) extra: Option<Arc<dyn Fn() -> String + Send + Sync>>,
    /// Ready as soon as the configuration is read: where dataplanes come only once this
    /// control plane is ready.
    pub(crate) alone: bool,
}

pub(super) fn router(operations: Operations, probes: Arc<Probes>) -> Router {
    Router::new()
        .route(
            "/readyz",
            get(ready).with_state((operations, Arc::clone(&probes))),
        )
        .route("/metrics", get(metrics).with_state(probes))
        .route("/healthz", get(async || "ok\n"))
}

/// 200 once a dataplane serves the current configuration on all its listeners.
async fn ready(State((operations, probes)): State<(Operations, Arc<Probes>)>) -> Response {
    let readiness = match operations.fleet.configuration() {
        Some(_) if probes.alone => Ok(()),
        _ => operations.readiness(),
    };
    match readiness {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {reason}\n"),
        )
            .into_response(),
    }
}

async fn metrics(State(probes): State<Arc<Probes>>) -> Response {
    let mut text = probes.telemetry.prometheus_text();
    if let Some(extra) = &probes.extra {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&extra());
    }
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response()
}
