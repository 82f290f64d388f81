//! What each version of HTTP allows a request that goes on, and what goes on of it.

use http::{HeaderMap, Method, Request, Version, header};
use hyper::ext::Protocol;

/// Panics where a request that `came` should not have gone on, or not as it was `sent`.
pub(super) fn hold(came: &Request<()>, sent: &Request<()>) {
    let (version, fields) = (came.version(), came.headers());
    if version >= Version::HTTP_2 {
        // RFC 9113 8.2.2 and RFC 9114 4.2.
        for name in CONNECTION_SPECIFIC {
            assert!(!fields.contains_key(name), "{version:?} has no {name}");
        }
        assert!(fields.get_all(header::TE).iter().all(|te| te == "trailers"));
        let padded = |value: &[u8]| value.trim_ascii().len() != value.len();
        assert!(!fields.values().any(|value| padded(value.as_bytes())));
    }
    let codings: Vec<_> = fields.get_all(header::TRANSFER_ENCODING).iter().collect();
    if let [coding, more @ ..] = &codings[..] {
        // RFC 9112 6.1.
        assert_eq!(version, Version::HTTP_11);
        assert!(more.is_empty());
        assert!(
            coding
                .as_bytes()
                .trim_ascii()
                .eq_ignore_ascii_case(b"chunked")
        );
        assert!(!fields.contains_key(header::CONTENT_LENGTH));
    }
    may_upgrade(came, sent.headers());
    own_connection(fields, sent.headers());
    // RFC 9110 7.6.3.
    let last = sent.headers().get_all(header::VIA).iter().next_back();
    let last = last.expect("each hop is named").as_bytes();
    let received = match version {
        Version::HTTP_10 => "1.0 ",
        Version::HTTP_11 => "1.1 ",
        Version::HTTP_2 => "2 ",
        _ => "3 ",
    };
    assert!(last.starts_with(received.as_bytes()), "{version:?}");
}

/// RFC 9110 7.8, RFC 8441 and RFC 9220: who asks for it gets it, and nobody else.
fn may_upgrade(came: &Request<()>, sent: &HeaderMap) {
    let Some(upgrade) = sent.get(header::UPGRADE) else {
        return;
    };
    let fields = came.headers();
    if came.version() >= Version::HTTP_2 {
        assert!(came.method() == Method::CONNECT && upgrade == "websocket");
        let protocol = came.extensions().get::<Protocol>();
        assert_eq!(protocol.map(Protocol::as_str), Some("websocket"));
        return;
    }
    assert_eq!(came.version(), Version::HTTP_11);
    assert_eq!(fields.get_all(header::UPGRADE).iter().count(), 1);
    assert!(tokens(fields, header::CONNECTION.as_str()).any(|token| token == "upgrade"));
    assert!(!tokens(fields, header::UPGRADE.as_str()).any(|token| token == "h2c"));
    let length = fields.get(header::CONTENT_LENGTH).map(|it| it.as_bytes());
    assert!(length.is_none_or(|digits| digits.iter().all(|digit| *digit == b'0')));
    assert!(!fields.contains_key(header::TRANSFER_ENCODING));
}

/// What is about the client's connection stays there, and what is about the upstream's is named.
fn own_connection(came: &HeaderMap, sent: &HeaderMap) {
    for name in listed(came) {
        assert!(
            KEPT.contains(&&*name)
                || name.starts_with("x-forwarded-")
                || !sent.contains_key(&*name),
            "{name}"
        );
    }
    let named: Vec<String> = listed(sent).collect();
    let expected = ["upgrade", "te"].into_iter();
    let expected: Vec<&str> = expected.filter(|name| sent.contains_key(*name)).collect();
    assert_eq!(named, expected);
    assert!(sent.get(header::TE).is_none_or(|te| te == "trailers"));
    for name in ["keep-alive", "proxy-connection", "proxy-authorization"] {
        assert!(!sent.contains_key(name), "{name}");
    }
}

/// What Connection names, in lower case.
pub(crate) fn listed(fields: &HeaderMap) -> impl Iterator<Item = String> {
    let values = fields.get_all(header::CONNECTION).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let parts = texts.flat_map(|text| text.split(','));
    parts.map(|part| part.trim().to_ascii_lowercase())
}

/// Of a list, in lower case and without parameters.
fn tokens<'a>(fields: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = String> + 'a {
    let values = fields.get_all(name).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let parts = texts.flat_map(|text| text.split(','));
    let token = |part: &str| {
        part.split([';', '/'])
            .next()
            .map(str::trim)
            .map(str::to_ascii_lowercase)
    };
    parts.filter_map(token).filter(|token| !token.is_empty())
}

pub(crate) const CONNECTION_SPECIFIC: [&str; 5] = [
    "connection",
    "transfer-encoding",
    "upgrade",
    "keep-alive",
    "proxy-connection",
];

/// What a client cannot take away by naming it, as it is checked, or the gateway's own.
pub(crate) const KEPT: [&str; 16] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "sec-websocket-key",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-real-ip",
];
