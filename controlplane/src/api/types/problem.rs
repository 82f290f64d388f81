//! The one shape of every error that the REST API answers with.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// RFC 9457 problem details, sent as `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    pub kind: String,
    /// The status in words.
    #[schema(example = "Not Found")]
    pub title: String,
    /// The HTTP status.
    #[schema(example = 404)]
    pub status: u16,
    /// What is wrong, and what to do.
    #[schema(example = "connection `edge.0.17.3` is not there: it has ended")]
    pub detail: String,
}
