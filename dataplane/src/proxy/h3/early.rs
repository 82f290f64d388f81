//! Requests in early data, which may be copies of what somebody else sent (RFC 8470).
//!
//! Safe ones without content are served at once, and the upstream is told; it can ask for
//! another attempt with 425. Others wait until the handshake is complete.

use http::{HeaderName, HeaderValue, Request};

use crate::proxy::Body;

/// Whether a request without content may be served now; then the upstream is told.
pub(super) fn may_go(request: &mut Request<Body>) -> bool {
    let safe = request.method().is_safe();
    if safe {
        *request.body_mut() = Body::Empty;
        request
            .headers_mut()
            .insert(EARLY_DATA, HeaderValue::from_static("1"));
    }
    safe
}

/// RFC 8470 5.1.
const EARLY_DATA: HeaderName = HeaderName::from_static("early-data");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safe_requests_are_marked_and_others_wait() {
        for (method, safe) in [
            ("GET", true),
            ("HEAD", true),
            ("OPTIONS", true),
            ("TRACE", true),
            ("POST", false),
            ("PUT", false),
            ("DELETE", false),
            ("PATCH", false),
            ("CONNECT", false),
            ("PURGE", false),
        ] {
            let request = Request::builder()
                .method(method)
                .header(EARLY_DATA, "0")
                .body(Body::Empty);
            let mut request = request.expect("a request");
            assert_eq!(may_go(&mut request), safe, "{method}");
            let said: Vec<_> = request.headers().get_all(EARLY_DATA).iter().collect();
            assert_eq!(said, [if safe { "1" } else { "0" }]);
        }
    }
}
