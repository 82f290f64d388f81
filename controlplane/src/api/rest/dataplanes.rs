//! `/v1/dataplanes`.

use axum::extract::State;
use tidegate_proto::v1;

use crate::api::{
    operations::Operations,
    respond::{Answer, Id, JsonBody, Outcome},
    types::{DataplaneList, DrainBody, Drained, Problem},
};

/// List dataplanes
///
/// Those that hold a session, with the version that each acknowledged or refused.
#[utoipa::path(
    get, path = "/v1/dataplanes", tag = "fleet", operation_id = "listDataplanes",
    responses((status = 200, body = DataplaneList)),
)]
pub(super) async fn list(State(operations): State<Operations>) -> Answer<DataplaneList> {
    Answer::of(operations.list_dataplanes())
}

/// Drain a dataplane
///
/// Its connections are told to go, finish what they do, and are closed at the deadline. It
/// is not ready meanwhile; what still connects is served and drained at once.
#[utoipa::path(
    post, path = "/v1/dataplanes/{id}/drain", tag = "fleet", operation_id = "drainDataplane",
    params(("id" = String, Path, description = "Dataplane id")),
    request_body = Option<DrainBody>,
    responses(
        (status = 200, description = "The drain has begun", body = Drained),
        (status = 404, description = "No such dataplane", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "It does not answer", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn drain(
    State(operations): State<Operations>,
    Id(id): Id,
    JsonBody(DrainBody { deadline_ms }): JsonBody<DrainBody>,
) -> Outcome<Drained> {
    let request = v1::DrainRequest { id, deadline_ms };
    Ok(Answer::of(operations.drain_dataplane(request).await?))
}

/// End the drain of a dataplane
#[utoipa::path(
    post, path = "/v1/dataplanes/{id}/undrain", tag = "fleet", operation_id = "undrainDataplane",
    params(("id" = String, Path, description = "Dataplane id")),
    responses(
        (status = 200, description = "New connections are ordinary again", body = Drained),
        (status = 404, description = "No such dataplane", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "It does not answer", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn undrain(State(operations): State<Operations>, Id(id): Id) -> Outcome<Drained> {
    Ok(Answer::of(
        operations
            .undrain_dataplane(v1::UndrainRequest { id })
            .await?,
    ))
}
