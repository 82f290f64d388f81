//! The data plane's own port: liveness, readiness and metrics of this one process.
//!
//! It tells nothing of connections and takes no commands; those go through the control
//! plane's admin API. It runs on the control thread.

use std::sync::Arc;

use axum::{Router, extract::State, routing::get};
use http::{StatusCode, header::CONTENT_TYPE};
use tokio::net::TcpListener;

use crate::{control::Reports, metrics::Metrics};

/// Prometheus text exposition format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone)]
struct Local {
    reports: Reports,
    metrics: Metrics,
}

/// Serves the port for ever.
pub(crate) async fn serve(listener: TcpListener, reports: Reports, metrics: Metrics) {
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(text))
        .with_state(Arc::new(Local { reports, metrics }));
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the admin port ended");
    }
}

/// 200 while every shard answers. Draining is no illness.
async fn healthz(State(local): State<Arc<Local>>) -> (StatusCode, String) {
    match local.reports.state().await {
        Ok(_) => (StatusCode::OK, "ok\n".into()),
        Err(silent) => (StatusCode::SERVICE_UNAVAILABLE, format!("{silent}\n")),
    }
}

/// 200 when traffic may come.
async fn readyz(State(local): State<Arc<Local>>) -> (StatusCode, String) {
    match local.reports.unready().await {
        None => (StatusCode::OK, "ready\n".into()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn text(State(local): State<Arc<Local>>) -> ([(http::HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, TEXT)], local.metrics.text())
}
