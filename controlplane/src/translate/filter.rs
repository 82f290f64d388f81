//! `filters[]` of a rule or of a backend: checked, in the dataplane's form.

use tidegate_proto::v1::{self, filter::Kind};

use super::{Fault, cors, hostname, matches::is_token, path, route_form::RouteKind};
use crate::gateway_api::{
    HttpHeader, HttpHeaderFilter, HttpPathModifier, HttpRequestMirror, HttpRequestRedirect,
    HttpRouteFilter, HttpUrlRewrite,
};

/// Finds the id of the backend that a mirror at a field sends to; empty: none.
pub(super) type FindMirrored<'f> = &'f mut dyn FnMut(&HttpRequestMirror, &str) -> String;

/// The filters at `field`, in order.
pub(super) fn translate(
    kind: RouteKind,
    specs: &[HttpRouteFilter],
    field: &str,
    mirrored: FindMirrored<'_>,
) -> Result<Vec<v1::Filter>, Fault> {
    for (index, spec) in specs.iter().enumerate() {
        if spec.type_ == "RequestMirror" {
            continue;
        }
        if specs[..index]
            .iter()
            .any(|earlier| earlier.type_ == spec.type_)
        {
            let problem = format!("{} is there twice; put the two into one", spec.type_);
            return Err(Fault::new(
                "IncompatibleFilters",
                format!("{field}[{index}].type: {problem}"),
            ));
        }
    }
    let has = |type_: &str| specs.iter().any(|spec| spec.type_ == type_);
    if has("RequestRedirect") && has("URLRewrite") {
        let problem = "RequestRedirect and URLRewrite exclude each other; remove one of them";
        return Err(Fault::new(
            "IncompatibleFilters",
            format!("{field}: {problem}"),
        ));
    }
    specs
        .iter()
        .enumerate()
        .map(|(index, spec)| one(kind, spec, &format!("{field}[{index}]"), mirrored))
        .collect()
}

fn one(
    kind: RouteKind,
    spec: &HttpRouteFilter,
    field: &str,
    mirrored: FindMirrored<'_>,
) -> Result<v1::Filter, Fault> {
    let known = match kind {
        RouteKind::Http => &HTTP[..],
        RouteKind::Grpc => &GRPC[..],
    };
    if !known.contains(&spec.type_.as_str()) {
        let (type_, known) = (&spec.type_, known.join(", "));
        return Err(Fault::unsupported(
            format_args!("{field}.type"),
            format_args!("`{type_}` is not supported; use one of {known}"),
        ));
    }
    let missing = |name: &str| {
        Fault::unsupported(
            format_args!("{field}.{name}"),
            format_args!("is missing; a {} needs it", spec.type_),
        )
    };
    let kind = match spec.type_.as_str() {
        "RequestHeaderModifier" => {
            let name = "requestHeaderModifier";
            let change = spec
                .request_header_modifier
                .as_ref()
                .ok_or_else(|| missing(name))?;
            Kind::RequestHeaders(headers(change, &format!("{field}.{name}"))?)
        }
        "ResponseHeaderModifier" => {
            let name = "responseHeaderModifier";
            let change = spec
                .response_header_modifier
                .as_ref()
                .ok_or_else(|| missing(name))?;
            Kind::ResponseHeaders(headers(change, &format!("{field}.{name}"))?)
        }
        "RequestRedirect" => {
            let name = "requestRedirect";
            let redirect_spec = spec
                .request_redirect
                .as_ref()
                .ok_or_else(|| missing(name))?;
            Kind::Redirect(redirect(redirect_spec, &format!("{field}.{name}"))?)
        }
        "URLRewrite" => {
            let name = "urlRewrite";
            let rewrite_spec = spec.url_rewrite.as_ref().ok_or_else(|| missing(name))?;
            Kind::Rewrite(rewrite(rewrite_spec, &format!("{field}.{name}"))?)
        }
        "RequestMirror" => {
            let name = "requestMirror";
            let mirror_spec = spec.request_mirror.as_ref().ok_or_else(|| missing(name))?;
            Kind::Mirror(mirror(mirror_spec, &format!("{field}.{name}"), mirrored)?)
        }
        _ => {
            let cors_spec = spec.cors.as_ref().ok_or_else(|| missing("cors"))?;
            Kind::Cors(cors::translate(cors_spec, &format!("{field}.cors"))?)
        }
    };
    Ok(v1::Filter { kind: Some(kind) })
}

fn mirror(
    spec: &HttpRequestMirror,
    field: &str,
    mirrored: FindMirrored<'_>,
) -> Result<v1::Mirror, Fault> {
    let (numerator, denominator) = match (spec.percent, &spec.fraction) {
        (None, None) => (100, 100),
        (Some(percent), None) => (percent, 100),
        (None, Some(fraction)) => (fraction.numerator, fraction.denominator.unwrap_or(100)),
        (Some(_), Some(_)) => {
            return Err(Fault::unsupported(
                format_args!("{field}.fraction"),
                "is there beside percent; remove one of them",
            ));
        }
    };
    let share = u32::try_from(numerator)
        .ok()
        .zip(u32::try_from(denominator).ok());
    let share = share.filter(|(part, whole)| *whole > 0 && part <= whole);
    let Some((numerator, denominator)) = share else {
        return Err(Fault::unsupported(
            field,
            format_args!(
                "{numerator} of {denominator} is no share of requests; write 0 to 100 percent"
            ),
        ));
    };
    Ok(v1::Mirror {
        backend_id: mirrored(spec, &format!("{field}.backendRef")),
        numerator,
        denominator,
    })
}

fn headers(spec: &HttpHeaderFilter, field: &str) -> Result<v1::HeaderModifier, Fault> {
    let fields = |list: &[HttpHeader], which: &str| {
        list.iter()
            .enumerate()
            .map(|(index, header)| {
                let field = format!("{field}.{which}[{index}]");
                let name = header_name(&header.name, &format!("{field}.name"))?;
                let clean = header
                    .value
                    .bytes()
                    .all(|b| b == b'\t' || (b >= b' ' && b != 0x7f));
                if !clean {
                    let problem = "has a control character; remove it";
                    return Err(Fault::unsupported(format_args!("{field}.value"), problem));
                }
                Ok(v1::HeaderField {
                    name,
                    value: header.value.trim().to_owned(),
                })
            })
            .collect::<Result<Vec<_>, _>>()
    };
    let remove = spec.remove.iter().enumerate();
    Ok(v1::HeaderModifier {
        set: fields(&spec.set, "set")?,
        add: fields(&spec.add, "add")?,
        remove: remove
            .map(|(index, name)| header_name(name, &format!("{field}.remove[{index}]")))
            .collect::<Result<_, _>>()?,
    })
}

/// Lower case. Fields that frame the message are the proxy's own (RFC 9110 7.6.1).
fn header_name(name: &str, field: &str) -> Result<String, Fault> {
    let lower = name.to_ascii_lowercase();
    if !is_token(&lower) {
        return Err(Fault::unsupported(
            field,
            format_args!(
                "`{}` is no header name; write letters, digits and `-`",
                name.escape_default()
            ),
        ));
    }
    if FRAMING.contains(&lower.as_str()) {
        return Err(Fault::unsupported(
            field,
            format_args!("`{name}` belongs to the connection and cannot be changed; remove it"),
        ));
    }
    if lower == "host" {
        return Err(Fault::unsupported(
            field,
            "`Host` is changed by a URLRewrite with a hostname; use that",
        ));
    }
    Ok(lower)
}

fn redirect(spec: &HttpRequestRedirect, field: &str) -> Result<v1::Redirect, Fault> {
    let scheme = spec.scheme.clone().unwrap_or_default();
    if !["", "http", "https"].contains(&scheme.as_str()) {
        return Err(Fault::unsupported(
            format_args!("{field}.scheme"),
            format_args!("`{scheme}` is neither http nor https"),
        ));
    }
    let port = spec.port.unwrap_or_default();
    if spec.port.is_some() && !(1..=65_535).contains(&port) {
        return Err(Fault::unsupported(
            format_args!("{field}.port"),
            format_args!("{port} is no port; write a number from 1 to 65535"),
        ));
    }
    let status = spec.status_code.unwrap_or(302);
    if ![301, 302, 303, 307, 308].contains(&status) {
        return Err(Fault::unsupported(
            format_args!("{field}.statusCode"),
            format_args!("{status} is none of 301, 302, 303, 307, 308"),
        ));
    }
    Ok(v1::Redirect {
        scheme,
        hostname: precise(spec.hostname.as_deref(), field)?,
        path: path_modifier(spec.path.as_ref(), &format!("{field}.path"))?,
        port: port.unsigned_abs(),
        status: status.unsigned_abs(),
    })
}

fn rewrite(spec: &HttpUrlRewrite, field: &str) -> Result<v1::UrlRewrite, Fault> {
    Ok(v1::UrlRewrite {
        hostname: precise(spec.hostname.as_deref(), field)?,
        path: path_modifier(spec.path.as_ref(), &format!("{field}.path"))?,
    })
}

fn precise(name: Option<&str>, field: &str) -> Result<String, Fault> {
    let Some(name) = name else {
        return Ok(String::new());
    };
    hostname::check_precise(name)
        .map_err(|problem| Fault::unsupported(format_args!("{field}.hostname"), problem))?;
    Ok(name.to_owned())
}

fn path_modifier(
    spec: Option<&HttpPathModifier>,
    field: &str,
) -> Result<Option<v1::PathModifier>, Fault> {
    use v1::path_modifier::Kind;
    let Some(spec) = spec else { return Ok(None) };
    let replacement = |value: &Option<String>, name: &str, may_be_empty: bool| {
        let field = format!("{field}.{name}");
        let Some(value) = value.clone() else {
            return Err(Fault::unsupported(
                field,
                format_args!("is missing; a {} needs it", spec.type_),
            ));
        };
        if !(may_be_empty && value.is_empty()) {
            path::check_replacement(&value)
                .map_err(|problem| Fault::unsupported(field, problem))?;
        }
        Ok(value)
    };
    let kind = match spec.type_.as_str() {
        "ReplaceFullPath" => Kind::ReplaceFull(replacement(
            &spec.replace_full_path,
            "replaceFullPath",
            false,
        )?),
        "ReplacePrefixMatch" => Kind::ReplacePrefix(replacement(
            &spec.replace_prefix_match,
            "replacePrefixMatch",
            true,
        )?),
        other => {
            return Err(Fault::unsupported(
                format_args!("{field}.type"),
                format_args!("`{other}` is neither ReplaceFullPath nor ReplacePrefixMatch"),
            ));
        }
    };
    Ok(Some(v1::PathModifier { kind: Some(kind) }))
}

/// Whether a filter replaces the prefix that matched, so that there must be one.
pub(super) fn replaces_prefix(spec: &HttpRouteFilter) -> bool {
    let redirect = spec
        .request_redirect
        .as_ref()
        .and_then(|redirect| redirect.path.as_ref());
    let rewrite = spec
        .url_rewrite
        .as_ref()
        .and_then(|rewrite| rewrite.path.as_ref());
    let path = if spec.type_ == "URLRewrite" {
        rewrite
    } else {
        redirect
    };
    path.is_some_and(|path| path.type_ == "ReplacePrefixMatch")
}

/// Types of filters of an HTTPRoute.
const HTTP: [&str; 6] = [
    "RequestHeaderModifier",
    "ResponseHeaderModifier",
    "RequestRedirect",
    "URLRewrite",
    "RequestMirror",
    "CORS",
];

/// Types of filters of a GRPCRoute.
const GRPC: [&str; 3] = [
    "RequestHeaderModifier",
    "ResponseHeaderModifier",
    "RequestMirror",
];

const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];
