//! `/v1/listeners`.

use axum::extract::State;
use tidegate_proto::v1;

use crate::api::{
    operations::Operations,
    respond::{Answer, Id, JsonBody, Outcome},
    types::{DrainBody, Drained, ListenerList, Problem},
};

/// List listeners
///
/// Each once, with its connections over all dataplanes.
#[utoipa::path(
    get, path = "/v1/listeners", tag = "fleet", operation_id = "listListeners",
    responses((status = 200, body = ListenerList)),
)]
pub(super) async fn list(State(operations): State<Operations>) -> Answer<ListenerList> {
    Answer::of(operations.list_listeners())
}

/// Drain a listener
///
/// On every dataplane that has it.
#[utoipa::path(
    post, path = "/v1/listeners/{id}/drain", tag = "fleet", operation_id = "drainListener",
    params(("id" = String, Path, description = "Listener id, with `%2F` for `/`")),
    request_body = Option<DrainBody>,
    responses(
        (status = 200, description = "The drain has begun", body = Drained),
        (status = 404, description = "No such listener", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "A dataplane does not answer", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn drain(
    State(operations): State<Operations>,
    Id(id): Id,
    JsonBody(DrainBody { deadline_ms }): JsonBody<DrainBody>,
) -> Outcome<Drained> {
    let request = v1::DrainRequest { id, deadline_ms };
    Ok(Answer::of(operations.drain_listener(request).await?))
}

/// End the drain of a listener
#[utoipa::path(
    post, path = "/v1/listeners/{id}/undrain", tag = "fleet", operation_id = "undrainListener",
    params(("id" = String, Path, description = "Listener id, with `%2F` for `/`")),
    responses(
        (status = 200, description = "New connections are ordinary again", body = Drained),
        (status = 404, description = "No such listener", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "A dataplane does not answer", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn undrain(State(operations): State<Operations>, Id(id): Id) -> Outcome<Drained> {
    Ok(Answer::of(
        operations
            .undrain_listener(v1::UndrainRequest { id })
            .await?,
    ))
}
