//! `/v1/keys`.

use axum::extract::State;

use crate::api::{
    operations::Operations,
    respond::{Answer, Outcome},
    types::{KeysRotated, Problem},
};

/// Rotate the shared keys
///
/// The next keys for session tickets, Retry tokens, stateless resets and connection IDs, which
/// data planes know already, come into use, and others are made to be the next. Those before
/// stay valid for a while, so no connection ends. Keys also rotate by age.
#[utoipa::path(
    post, path = "/v1/keys/rotate", tag = "configuration", operation_id = "rotateKeys",
    responses(
        (status = 200, body = KeysRotated),
        (status = 500, description = "The keys cannot be written; nothing has changed", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn rotate(State(operations): State<Operations>) -> Outcome<KeysRotated> {
    Ok(Answer(operations.rotate_keys().await?))
}
