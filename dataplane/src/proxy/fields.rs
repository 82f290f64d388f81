//! The rules for fields that HTTP/1.1, HTTP/2 and HTTP/3 share, so that all three get the
//! same verdict. Pure: looks at a header section and says what it is worth.
//!
//! What the types make impossible is not checked again: a `HeaderValue` has no CR, LF or
//! NUL, and a `HeaderName` is lower case. Front-ends refuse upper-case names themselves.

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::failure::Failure;
use crate::snapshot::HttpLimits;

/// What the header section says of the message that follows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Framing {
    /// Bytes of content that the client announced.
    pub(crate) content_length: Option<u64>,
    /// The client takes trailers (RFC 9110 10.1.4).
    pub(crate) te_trailers: bool,
    /// The client waits for 100 (Continue) before it sends content.
    pub(crate) expects_continue: bool,
    /// The client would like to speak something else (RFC 9110 7.8).
    pub(crate) upgrade: Option<Upgrade>,
}

/// What comes after HTTP on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upgrade {
    WebSocket,
    /// WebSocket on a stream of HTTP/2 or HTTP/3 (RFC 8441, RFC 9220).
    Extended,
    Other,
}

/// Checks a request's header section.
pub(crate) fn check(
    version: Version,
    headers: &HeaderMap,
    limits: &HttpLimits,
) -> Result<Framing, Failure> {
    check_size(headers, limits)?;
    if version >= Version::HTTP_2 {
        check_multiplexed(headers)?;
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        check_transfer_encoding(version, headers)?;
    }
    let mut te = headers.get_all(header::TE).iter();
    let content_length = content_length(headers)?;
    let has_content = headers.contains_key(header::TRANSFER_ENCODING)
        || !matches!(content_length, None | Some(0));
    Ok(Framing {
        content_length,
        upgrade: if version == Version::HTTP_11 && !has_content {
            upgrade(headers)
        } else {
            None
        },
        te_trailers: te.any(|value| has_token(value, "trailers")),
        expects_continue: expects_continue(headers)?,
    })
}

/// Counts as RFC 9114 4.2.2 does: 32 bytes for each field, crumbs of cookies included,
/// because that is what they cost here.
fn check_size(headers: &HeaderMap, limits: &HttpLimits) -> Result<(), Failure> {
    if headers.len() > limits.max_fields {
        return Err(Failure::FieldsTooLarge);
    }
    let size: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum();
    if size as u64 > limits.max_field_section_size {
        return Err(Failure::FieldsTooLarge);
    }
    Ok(())
}

/// RFC 9113 8.2 and RFC 9114 4.2: nothing that is about a connection, and no padding.
fn check_multiplexed(headers: &HeaderMap) -> Result<(), Failure> {
    if headers.keys().any(is_connection_specific) {
        return Err(Failure::Malformed(
            "A field is about a connection, which only HTTP/1.1 has.",
        ));
    }
    if headers
        .get_all(header::TE)
        .iter()
        .any(|value| value != "trailers")
    {
        return Err(Failure::Malformed("TE may only say trailers."));
    }
    if headers.values().any(is_padded) {
        return Err(Failure::Malformed(
            "A field value begins or ends with white space.",
        ));
    }
    Ok(())
}

/// RFC 9112 6.1: chunked once and last, not with Content-Length, not in HTTP/1.0.
fn check_transfer_encoding(version: Version, headers: &HeaderMap) -> Result<(), Failure> {
    let mut values = headers.get_all(header::TRANSFER_ENCODING).iter();
    let only_chunked = values.next().is_some_and(|value| {
        value
            .to_str()
            .is_ok_and(|value| value.trim().eq_ignore_ascii_case("chunked"))
    }) && values.next().is_none();
    if version < Version::HTTP_11 || !only_chunked {
        return Err(Failure::Malformed(
            "Only the transfer coding chunked is understood.",
        ));
    }
    if headers.contains_key(header::CONTENT_LENGTH) {
        return Err(Failure::Malformed(
            "Content-Length and Transfer-Encoding exclude each other.",
        ));
    }
    Ok(())
}

/// RFC 9110 8.6. Repeated values are refused even where they agree: whoever sends them
/// hopes for two recipients that read them differently.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Failure::Malformed("Content-Length is repeated."));
    }
    // `parse` alone would take a sign.
    let digits = value.as_bytes().iter().all(u8::is_ascii_digit);
    let length = value
        .to_str()
        .ok()
        .filter(|_| digits)
        .and_then(|value| value.parse().ok());
    length
        .map(Some)
        .ok_or(Failure::Malformed("Content-Length is no number of bytes."))
}

fn expects_continue(headers: &HeaderMap) -> Result<bool, Failure> {
    let mut expected = false;
    for value in headers.get_all(header::EXPECT) {
        if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
            return Err(Failure::Expectation);
        }
        expected = true;
    }
    Ok(expected)
}

/// HTTP/2 in the clear is asked for with prior knowledge only (RFC 9113 3.1): whoever names
/// it here is served as if they had not.
fn upgrade(headers: &HeaderMap) -> Option<Upgrade> {
    let mut values = headers.get_all(header::UPGRADE).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    let mut connection = headers.get_all(header::CONNECTION).iter();
    if !connection.any(|value| has_token(value, "upgrade")) || has_token(value, "h2c") {
        return None;
    }
    Some(if has_token(value, "websocket") {
        Upgrade::WebSocket
    } else {
        Upgrade::Other
    })
}

/// Makes a response's header section one that clients of every version take. Of two lengths
/// nobody knows which is true, and beside a transfer coding none is (RFC 9112 6.3).
pub(crate) fn check_response(version: Version, headers: &mut HeaderMap) -> Result<(), Failure> {
    if version < Version::HTTP_2 && headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    clean_response(headers);
    content_length(headers)
        .map(drop)
        .map_err(|_| Failure::Upstream)
}

/// Takes out of a response's header or trailer section what is for one connection only, and the
/// white space around values (RFC 9113 8.2.1), as a `grpc-message` may have it.
pub(crate) fn clean_response(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    for value in headers.values_mut().filter(|value| is_padded(value)) {
        if let Ok(trimmed) = HeaderValue::from_bytes(value.as_bytes().trim_ascii()) {
            *value = trimmed;
        }
    }
}

/// Whether trailers may pass: within the limits, and without a field that would have
/// framed, routed or authorized the request (RFC 9110 6.5.1).
pub(crate) fn trailers_may_pass(trailers: &HeaderMap, limits: &HttpLimits) -> bool {
    let may_not = |name| is_connection_specific(name) || is_about_message(name);
    check_size(trailers, limits).is_ok() && !trailers.keys().any(may_not)
}

/// Removes what is for one connection only (RFC 9110 7.6.1), in either direction. `Trailer`
/// stays, as it describes the message.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let listed: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            // A client must not take away what was checked before it gets used.
            .filter(|name| !is_about_message(name))
            .collect();
        for name in listed {
            headers.remove(name);
        }
    }
    // Usually there are none: to look at what is there takes less than to look for all of them.
    let present = headers.keys().filter(|name| is_hop_by_hop(name));
    for name in present.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

fn has_token(value: &HeaderValue, token: &str) -> bool {
    value.to_str().is_ok_and(|value| {
        // Parameters, as in `trailers;q=0.5`, and versions do not change what is meant.
        value.split(',').any(|part| {
            part.split([';', '/'])
                .next()
                .is_some_and(|part| part.trim().eq_ignore_ascii_case(token))
        })
    })
}

fn is_padded(value: &HeaderValue) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    blank(value.as_bytes().first()) || blank(value.as_bytes().last())
}

/// Whether a field is about a connection, which only HTTP/1.1 says in fields.
fn is_connection_specific(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade"
    )
}

/// Whether a field goes no further than one connection.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    is_connection_specific(name)
        || matches!(
            name.as_str(),
            "http2-settings" | "proxy-authorization" | "te"
        )
}

/// Whether a field frames, routes or authorizes the message, or says what its content is.
fn is_about_message(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "authorization"
            | "content-encoding"
            | "content-length"
            | "content-range"
            | "content-type"
            | "expect"
            | "host"
            | "te"
            | "trailer"
    )
}

#[cfg(test)]
mod tests;
