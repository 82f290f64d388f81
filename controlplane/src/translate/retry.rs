//! `retry` of a rule (GEP-1731).

use tidegate_proto::v1;

use super::{Fault, duration};
use crate::gateway_api::HttpRouteRetry;

/// The settings at `field`.
pub(super) fn translate(spec: &HttpRouteRetry, field: &str) -> Result<v1::Retry, Fault> {
    let mut codes = Vec::new();
    for (index, code) in spec.codes.iter().enumerate() {
        let known = u32::try_from(*code).ok();
        let Some(code) = known.filter(|code| (400..=599).contains(code)) else {
            return Err(Fault::unsupported(
                format_args!("{field}.codes[{index}]"),
                format_args!("{code} is no error; write a status from 400 to 599"),
            ));
        };
        codes.push(code);
    }
    let attempts = spec.attempts.unwrap_or(DEFAULT_ATTEMPTS);
    let attempts = u32::try_from(attempts).ok().filter(|number| *number > 0);
    let Some(attempts) = attempts else {
        return Err(Fault::unsupported(
            format_args!("{field}.attempts"),
            "is no number of attempts; write 1 or more, or remove retry",
        ));
    };
    let backoff = spec.backoff.as_deref().map(duration::milliseconds);
    let backoff = backoff
        .transpose()
        .map_err(|problem| Fault::unsupported(format_args!("{field}.backoff"), problem))?;
    Ok(v1::Retry {
        codes,
        attempts,
        backoff_ms: backoff.unwrap_or_default(),
    })
}

/// Where `attempts` is absent, which the API leaves open.
const DEFAULT_ATTEMPTS: i32 = 2;
