//! How gRPC clients are told what went wrong.
//!
//! They read a status of their own, in the trailers or, where there is no content, in the
//! head, under 200 (the gRPC protocol's Trailers-Only).

use http::{HeaderMap, HeaderName, HeaderValue, Response, header};

use super::{Body, failure::Failure};

/// Whether a request is of a gRPC client. gRPC-Web, which browsers speak, is another protocol.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    let kind = kind.as_bytes();
    let Some((start, rest)) = kind.split_at_checked(GRPC.len()) else {
        return false;
    };
    start.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// The answer that says so to a gRPC client.
pub(super) fn response(failure: Failure) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(STATUS, HeaderValue::from(status(failure)));
    // Sentences are plain ASCII, which needs no percent-encoding.
    headers.insert(MESSAGE, HeaderValue::from_static(failure.sentence()));
    response
}

/// As the gRPC documents map HTTP's statuses, and the Gateway API where it says more.
fn status(failure: Failure) -> u16 {
    const CANCELLED: u16 = 1;
    const DEADLINE_EXCEEDED: u16 = 4;
    const PERMISSION_DENIED: u16 = 7;
    const RESOURCE_EXHAUSTED: u16 = 8;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    match failure {
        Failure::Malformed(_) | Failure::Expectation => INTERNAL,
        Failure::FieldsTooLarge => RESOURCE_EXHAUSTED,
        Failure::Forbidden => PERMISSION_DENIED,
        Failure::NotImplemented | Failure::NoRoute => UNIMPLEMENTED,
        Failure::Misdirected
        | Failure::Unresolved
        | Failure::NoEndpoints
        | Failure::Connect
        | Failure::Upstream => UNAVAILABLE,
        Failure::RequestBodyIdle | Failure::RequestTimeout | Failure::BackendTimeout => {
            DEADLINE_EXCEEDED
        }
        Failure::ClientGone => CANCELLED,
    }
}

const GRPC: &[u8] = b"application/grpc";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpc_itself_is_grpc() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("Application/gRPC+proto", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
            ("", false),
        ] {
            let value = HeaderValue::from_static(kind);
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, value)]);
            assert_eq!(is_grpc(&headers), expected, "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn a_failure_is_a_status_without_content() {
        for (failure, status) in [
            (Failure::NoRoute, "12"),
            (Failure::Unresolved, "14"),
            (Failure::NoEndpoints, "14"),
            (Failure::Connect, "14"),
            (Failure::BackendTimeout, "4"),
            (Failure::RequestTimeout, "4"),
            (
                Failure::Malformed("The path has no unambiguous form."),
                "13",
            ),
        ] {
            let response = response(failure);
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()[STATUS], status, "{failure:?}");
            assert!(matches!(response.body(), Body::Empty));
        }
    }
}
