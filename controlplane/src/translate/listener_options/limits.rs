//! Limits and time-outs of requests, among a listener's settings.

use std::ops::RangeInclusive;

use tidegate_proto::v1;

use crate::translate::duration::{self, HOUR};

/// The settings that [`set`] knows.
pub(super) const NAMES: [&str; 6] = [
    HANDSHAKE,
    "header-timeout",
    "body-idle-timeout",
    "connection-idle-timeout",
    "max-header-bytes",
    "max-header-fields",
];

pub(super) const HANDSHAKE: &str = "tls-handshake-timeout";

/// False: there is none of that name.
pub(super) fn set(limits: &mut v1::HttpLimits, name: &str, value: &str) -> Result<bool, String> {
    match name {
        HANDSHAKE => limits.tls_handshake_timeout_ms = duration::within(value, &TIMES)?,
        "header-timeout" => limits.header_timeout_ms = duration::within(value, &TIMES)?,
        "body-idle-timeout" => limits.body_idle_timeout_ms = duration::within(value, &TIMES)?,
        "connection-idle-timeout" => {
            limits.connection_idle_timeout_ms = duration::within(value, &TIMES)?
        }
        "max-header-bytes" => limits.max_field_section_size = number(value, &BYTES)?.into(),
        "max-header-fields" => limits.max_fields = number(value, &FIELDS)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn number(value: &str, range: &RangeInclusive<u32>) -> Result<u32, String> {
    let number = value.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        format!("`{value}` is no number from {least} to {most}")
    })
}

/// Milliseconds. Nothing needs less, and no connection that waits for longer is worth its memory.
const TIMES: RangeInclusive<u64> = 100..=24 * HOUR;
/// Of a header section, as a dataplane takes it.
const BYTES: RangeInclusive<u32> = 1024..=96 * 1024;
const FIELDS: RangeInclusive<u32> = 8..=8192;
