//! Why the gateway answers a request itself.
//!
//! One enumeration for everything that can go wrong on a request's way, mapped to a
//! status, to the label of the metrics, and to a sentence for whoever reads the body.

use http::{HeaderValue, Response, StatusCode, header};

use super::body::{Body, BodyError};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request breaks a rule of HTTP; the text says which.
    Malformed(&'static str),
    /// More fields, or larger ones, than the listener allows (RFC 6585 5).
    FieldsTooLarge,
    /// `Expect` asks for something unknown (RFC 9110 10.1.1).
    Expectation,
    /// Content stood still.
    RequestBodyIdle,
    /// CONNECT, or WebSocket to a backend of HTTP/2.
    NotImplemented,
    /// The listener does not admit the client's address.
    Forbidden,
    /// The authority belongs to another listener than the server name (RFC 9110 15.5.20).
    Misdirected,
    /// No listener or no route has it.
    NoRoute,
    /// The rule has no backend, or one that does not resolve.
    Unresolved,
    /// The backend has no endpoints.
    NoEndpoints,
    /// No endpoint could be connected to.
    Connect,
    /// The upstream broke off or broke the protocol before the response's head.
    Upstream,
    /// The rule's request time-out passed.
    RequestTimeout,
    /// The rule's backend request time-out passed.
    BackendTimeout,
    /// The client is gone: nobody will see this response.
    ClientGone,
}

impl Failure {
    /// The status to answer with.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::FieldsTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::RequestBodyIdle => StatusCode::REQUEST_TIMEOUT,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Unresolved => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoEndpoints | Self::Connect => StatusCode::SERVICE_UNAVAILABLE,
            Self::Upstream => StatusCode::BAD_GATEWAY,
            Self::RequestTimeout | Self::BackendTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::ClientGone => StatusCode::BAD_REQUEST,
        }
    }

    /// Whether the request's own form is what is wrong.
    pub(crate) fn is_about_framing(self) -> bool {
        matches!(self, Self::Malformed(_) | Self::FieldsTooLarge)
    }

    /// `error.type` of the metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::FieldsTooLarge => "fields_too_large",
            Self::Expectation => "expectation",
            Self::RequestBodyIdle => "request_body_idle",
            Self::NotImplemented => "not_implemented",
            Self::Forbidden => "forbidden",
            Self::Misdirected => "misdirected",
            Self::NoRoute => "no_route",
            Self::Unresolved => "unresolved_backend",
            Self::NoEndpoints => "no_endpoints",
            Self::Connect => "connect",
            Self::Upstream => "upstream",
            Self::RequestTimeout => "request_timeout",
            Self::BackendTimeout => "backend_request_timeout",
            Self::ClientGone => "client_gone",
        }
    }

    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::Malformed(why) => why,
            Self::FieldsTooLarge => "The header section is too large.",
            Self::Expectation => "The expectation is unknown.",
            Self::RequestBodyIdle => "The request's content stood still for too long.",
            Self::NotImplemented => "The method or protocol is not served here.",
            Self::Forbidden => "Not admitted from this address.",
            Self::Misdirected => "This connection is not for that host; use another one.",
            Self::NoRoute => "No route has this request.",
            Self::Unresolved => "The route has no valid backend.",
            Self::NoEndpoints => "The backend has no endpoints.",
            Self::Connect => "The backend cannot be reached.",
            Self::Upstream => "The backend gave no valid response.",
            Self::RequestTimeout | Self::BackendTimeout => "The backend took too long.",
            Self::ClientGone => "The client is gone.",
        }
    }

    /// The response that says so. To HEAD it has no content (RFC 9110 9.3.2).
    pub(crate) fn response(self, to_head: bool) -> Response<Body> {
        let text = self.sentence().as_bytes();
        let body = if to_head {
            Body::Empty
        } else {
            Body::full(text)
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
        response
    }
}

/// How a request's body ended decides what its sender is told.
impl From<&BodyError> for Failure {
    fn from(error: &BodyError) -> Self {
        match error {
            BodyError::Reset => Self::ClientGone,
            BodyError::Idle => Self::RequestBodyIdle,
            BodyError::Timeout => Self::RequestTimeout,
            BodyError::LengthMismatch => {
                Self::Malformed("The content is not as long as Content-Length says.")
            }
            BodyError::Trailers => Self::Malformed("The trailers have a forbidden field."),
            BodyError::Upstream(_) => Self::Upstream,
        }
    }
}
