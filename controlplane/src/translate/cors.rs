//! The `CORS` filter.

use tidegate_proto::v1;

use super::{
    Fault,
    matches::{METHODS, is_token},
};
use crate::gateway_api::HttpCors;

/// The filter at `field`.
pub(super) fn translate(spec: &HttpCors, field: &str) -> Result<v1::Cors, Fault> {
    check(
        &spec.allow_origins,
        &format!("{field}.allowOrigins"),
        |text| {
            is_origin(text).then_some(()).ok_or(
            "is no origin; write http:// or https:// and a host, which may begin with `*.`, or `*`",
        )
        },
    )?;
    check(
        &spec.allow_methods,
        &format!("{field}.allowMethods"),
        |text| {
            METHODS
                .contains(&text)
                .then_some(())
                .ok_or("is no method; write one like GET, or `*`")
        },
    )?;
    let header = |text: &str| {
        is_token(text)
            .then_some(())
            .ok_or("is no header name; write letters, digits and `-`, or `*`")
    };
    check(
        &spec.allow_headers,
        &format!("{field}.allowHeaders"),
        header,
    )?;
    check(
        &spec.expose_headers,
        &format!("{field}.exposeHeaders"),
        header,
    )?;
    let max_age = spec.max_age.map(u32::try_from).transpose();
    let max_age = max_age.ok().filter(|seconds| *seconds != Some(0));
    let max_age = max_age.ok_or_else(|| {
        Fault::unsupported(
            format_args!("{field}.maxAge"),
            "is no number of seconds; write 1 or more",
        )
    })?;
    Ok(v1::Cors {
        allow_origins: spec.allow_origins.clone(),
        allow_credentials: spec.allow_credentials.unwrap_or_default(),
        allow_methods: spec.allow_methods.clone(),
        allow_headers: spec.allow_headers.clone(),
        expose_headers: spec.expose_headers.clone(),
        max_age_seconds: max_age.unwrap_or_default(),
    })
}

/// `*` may stand in any of the lists.
fn check(
    list: &[String],
    field: &str,
    judge: impl Fn(&str) -> Result<(), &'static str>,
) -> Result<(), Fault> {
    for (index, text) in list.iter().enumerate().filter(|(_, text)| *text != "*") {
        judge(text).map_err(|problem| {
            let problem = format!("`{}` {problem}", text.escape_debug());
            Fault::unsupported(format_args!("{field}[{index}]"), problem)
        })?;
    }
    Ok(())
}

/// A scheme, a host that may be `*` or begin with `*.`, and perhaps a port.
pub(crate) fn is_origin(text: &str) -> bool {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    let Some(rest) = rest else { return false };
    let (host, port) = rest.split_once(':').unwrap_or((rest, "80"));
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let suffix = host.strip_prefix("*.").unwrap_or(host);
    (host == "*" || suffix.split('.').all(label))
        && port.bytes().all(|b| b.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}
