//! Limits and timers of requests, with their defaults.

use std::time::Duration;

use tidegate_proto::v1;

use super::problems::Object;

/// The largest time that a setting may have, some 139 years: far from what would overflow
/// a clock, and longer than any duration that the Gateway API can express.
pub(super) const MAX_MILLISECONDS: u64 = 1 << 42;

/// The largest header section that a listener may allow, bytes. Less than what HTTP/3 reads at all
/// (128 KiB), so that what is beyond a listener's limit can be answered with 431.
const MAX_FIELD_SECTION: u64 = 96 * 1024;

/// What HTTP/1.1, HTTP/2 and HTTP/3 share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Until a TLS handshake over TCP is complete.
    pub tls_handshake_timeout: Duration,
    /// Until a request's header section is complete.
    pub header_timeout: Duration,
    /// Longest pause in a body, either way.
    pub body_idle_timeout: Duration,
    /// How long a connection may be without a request.
    pub connection_idle_timeout: Duration,
    /// Bytes of a header section, with 32 for each field (RFC 9114 4.2.2).
    pub max_field_section_size: u64,
    /// Fields in a header section.
    pub max_fields: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            tls_handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(60),
            connection_idle_timeout: Duration::from_secs(60),
            max_field_section_size: 32 * 1024,
            max_fields: 128,
        }
    }
}

impl HttpLimits {
    /// Each limit as the more generous of the two has it.
    pub(super) fn widened(&self, other: &Self) -> Self {
        Self {
            tls_handshake_timeout: self.tls_handshake_timeout.max(other.tls_handshake_timeout),
            header_timeout: self.header_timeout.max(other.header_timeout),
            body_idle_timeout: self.body_idle_timeout.max(other.body_idle_timeout),
            connection_idle_timeout: self
                .connection_idle_timeout
                .max(other.connection_idle_timeout),
            max_field_section_size: self
                .max_field_section_size
                .max(other.max_field_section_size),
            max_fields: self.max_fields.max(other.max_fields),
        }
    }
}

pub(super) fn parse(wire: &v1::HttpLimits, object: &mut Object<'_>) -> Option<HttpLimits> {
    let default = HttpLimits::default();
    let mut time = |field: &str, value, default| {
        milliseconds(object, &format!("limits.{field}"), value, default)
    };
    let handshake = time(
        "tls_handshake_timeout_ms",
        wire.tls_handshake_timeout_ms,
        default.tls_handshake_timeout,
    );
    let header = time(
        "header_timeout_ms",
        wire.header_timeout_ms,
        default.header_timeout,
    );
    let body = time(
        "body_idle_timeout_ms",
        wire.body_idle_timeout_ms,
        default.body_idle_timeout,
    );
    let idle = time(
        "connection_idle_timeout_ms",
        wire.connection_idle_timeout_ms,
        default.connection_idle_timeout,
    );
    let size = bounded(
        object,
        "limits.max_field_section_size",
        wire.max_field_section_size,
        default.max_field_section_size,
        // Below it no browser gets through; above it one request is an attack.
        1024..=MAX_FIELD_SECTION,
    );
    let fields = bounded(
        object,
        "limits.max_fields",
        wire.max_fields.into(),
        default.max_fields as u64,
        8..=8192,
    );
    Some(HttpLimits {
        tls_handshake_timeout: handshake?,
        header_timeout: header?,
        body_idle_timeout: body?,
        connection_idle_timeout: idle?,
        max_field_section_size: size?,
        max_fields: usize::try_from(fields?).ok()?,
    })
}

/// A time whose zero is the default.
pub(super) fn milliseconds(
    object: &mut Object<'_>,
    field: &str,
    value: u64,
    default: Duration,
) -> Option<Duration> {
    let default = u64::try_from(default.as_millis()).ok()?;
    bounded(object, field, value, default, 1..=MAX_MILLISECONDS).map(Duration::from_millis)
}

/// A number whose zero is the default.
pub(super) fn bounded(
    object: &mut Object<'_>,
    field: &str,
    value: u64,
    default: u64,
    range: std::ops::RangeInclusive<u64>,
) -> Option<u64> {
    match value {
        0 => Some(default),
        _ if range.contains(&value) => Some(value),
        _ => {
            let (least, most) = (range.start(), range.end());
            object.refuse(
                field,
                format!("{value} is out of range; use {least} to {most}"),
            );
            None
        }
    }
}
