//! `/v1/config` and `/v1/status`.

use axum::extract::State;
use serde::Deserialize;
use tidegate_proto::v1;
use utoipa::IntoParams;

use crate::api::{
    operations::Operations,
    respond::{Answer, Outcome, Params},
    types::{Configuration, Problem, StatusList},
};

/// Whose configuration.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ConfigParams {
    /// Dataplane id. Empty: what a dataplane without a Gateway of its own gets.
    dataplane: String,
}

/// Show the effective configuration
///
/// Everything that a dataplane is to serve; keys and private keys are left out.
#[utoipa::path(
    get, path = "/v1/config", tag = "configuration", operation_id = "getConfig",
    params(ConfigParams),
    responses(
        (status = 200, body = Configuration),
        (status = 404, description = "No such dataplane, or nothing for it", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn config(
    State(operations): State<Operations>,
    Params(ConfigParams { dataplane }): Params<ConfigParams>,
) -> Outcome<Configuration> {
    Ok(Answer::of(
        operations.config(&v1::GetConfigRequest { dataplane })?,
    ))
}

/// Show what became of each object
///
/// The conditions of the Gateway API, with what dataplanes answered. What is wrong with
/// a file is there as an object of kind `File`.
#[utoipa::path(
    get, path = "/v1/status", tag = "configuration", operation_id = "getStatus",
    responses((status = 200, body = StatusList)),
)]
pub(super) async fn status(State(operations): State<Operations>) -> Answer<StatusList> {
    Answer::of(operations.status())
}
