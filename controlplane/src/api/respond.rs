//! JSON in and out: what handlers take and give, with problem JSON for all that fails.

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::BytesRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header, request::Parts};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    failure::{Failure, problem},
    types::{FromWire, Problem},
};

/// An answer as JSON.
pub(crate) struct Answer<T>(pub(crate) T);

impl<T> Answer<T> {
    /// From what the protocol carries.
    pub(crate) fn of<W>(wire: W) -> Self
    where
        T: FromWire<W>,
    {
        Self(T::from_wire(wire))
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        Json(self.0).into_response()
    }
}

/// What a REST handler answers.
pub(crate) type Outcome<T> = Result<Answer<T>, Failure>;

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        respond(self.status(), self.problem())
    }
}

/// A problem of any status.
pub(crate) fn problem_response(status: StatusCode, detail: impl Into<String>) -> Response {
    respond(status, problem(status, detail))
}

fn respond(status: StatusCode, problem: Problem) -> Response {
    let mut response = (status, Json(problem)).into_response();
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The `{id}` of a path, decoded.
pub(crate) struct Id(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(id) = path.map_err(|rejection| Failure::Invalid(rejection.body_text()))?;
        Ok(Self(id))
    }
}

/// The query of a URL.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        let Query(params) = query.map_err(|rejection| Failure::Invalid(rejection.body_text()))?;
        Ok(Self(params))
    }
}

/// A JSON body, whatever its content type says; an empty one is `{}`.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let refused =
            |rejection: BytesRejection| problem_response(rejection.status(), rejection.body_text());
        let bytes = Bytes::from_request(request, state).await.map_err(refused)?;
        let text = match bytes.trim_ascii() {
            b"" => b"{}",
            text => text,
        };
        // A struct could be read from an array too.
        if !text.starts_with(b"{") {
            let detail = "the body is not what is expected here: it is no JSON object";
            return Err(Failure::Invalid(detail.into()).into_response());
        }
        serde_json::from_slice(text).map(Self).map_err(|error| {
            Failure::Invalid(format!("the body is not what is expected here: {error}"))
                .into_response()
        })
    }
}
