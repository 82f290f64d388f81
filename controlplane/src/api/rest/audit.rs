//! `/v1/audit`.

use axum::extract::State;
use serde::Deserialize;
use tidegate_proto::v1;
use utoipa::IntoParams;

use crate::api::{
    operations::Operations,
    respond::{Answer, Outcome, Params},
    types::{AuditList, Problem},
};

/// Which records, and which page of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditParams {
    /// Exact server name.
    server_name: String,
    /// CIDR range of the peer's address, or one address.
    peer: String,
    /// Listener id.
    listener: String,
    /// Least milliseconds that the connection lived.
    min_age_ms: u64,
    /// Most milliseconds that the connection lived.
    max_age_ms: u64,
    /// `h3`, `h2` or `http/1.1`.
    alpn: String,
    /// Exact connection id.
    connection_id: String,
    /// 1 to 1000. Default 100.
    limit: u32,
    /// `next` of the page before.
    before: u64,
}

/// List connections that have ended
///
/// Newest first, page by page. Each connection has exactly one record.
#[utoipa::path(
    get, path = "/v1/audit", tag = "history", operation_id = "listAudit",
    params(AuditParams),
    responses(
        (status = 200, body = AuditList),
        (status = 400, description = "The selector or the page makes no sense", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(operations): State<Operations>,
    Params(params): Params<AuditParams>,
) -> Outcome<AuditList> {
    let AuditParams {
        server_name,
        peer,
        listener,
        min_age_ms,
        max_age_ms,
        alpn,
        ..
    } = params;
    let selector = Some(v1::Selector {
        server_name,
        peer,
        listener,
        min_age_ms,
        max_age_ms,
        alpn,
    });
    let AuditParams {
        connection_id,
        limit,
        before,
        ..
    } = params;
    let request = v1::ListAuditRequest {
        limit,
        before,
        selector,
        connection_id,
    };
    Ok(Answer::of(operations.list_audit(request).await?))
}
