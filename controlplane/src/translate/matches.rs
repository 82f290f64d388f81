//! `matches[]` of a rule: checked, with defaults filled in.

use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder, bytes};
use tidegate_proto::v1;

use super::{Fault, path, route_form::MatchForms};
use crate::gateway_api::{
    GrpcMethodMatch, GrpcRouteMatch, HttpPathMatch, HttpRouteMatch, HttpValueMatch,
};

/// The matches at `field`.
pub(super) fn translate(forms: &MatchForms<'_>, field: &str) -> Result<Vec<v1::Match>, Fault> {
    let field = |index: usize| format!("{field}[{index}]");
    match forms {
        MatchForms::Http(specs) => {
            let each = specs.iter().enumerate();
            each.map(|(index, spec)| of_http(spec, &field(index)))
                .collect()
        }
        MatchForms::Grpc(specs) => {
            let each = specs.iter().enumerate();
            each.map(|(index, spec)| of_grpc(spec, &field(index)))
                .collect()
        }
    }
}

/// Whether a match tells a prefix of the path.
pub(super) fn is_by_prefix(one: &v1::Match) -> bool {
    let kind = one.path.as_ref().and_then(|path| path.kind.as_ref());
    matches!(kind, Some(v1::path_match::Kind::Prefix(_)))
}

fn of_http(spec: &HttpRouteMatch, field: &str) -> Result<v1::Match, Fault> {
    let method = spec.method.clone().unwrap_or_default();
    if !method.is_empty() && !METHODS.contains(&method.as_str()) {
        let problem = format!("`{method}` is none of {}", METHODS.join(", "));
        return Err(Fault::unsupported(format_args!("{field}.method"), problem));
    }
    Ok(v1::Match {
        path: Some(v1::PathMatch {
            kind: Some(path_match(spec.path.as_ref(), &format!("{field}.path"))?),
        }),
        headers: values(
            &spec.headers,
            &format!("{field}.headers"),
            str::to_ascii_lowercase,
        )?,
        query: values(
            &spec.query_params,
            &format!("{field}.queryParams"),
            str::to_owned,
        )?,
        method,
    })
}

/// A call is a request for `/service/method`. That it is a POST is not asked for: what is
/// none gets its answer from the backend.
fn of_grpc(spec: &GrpcRouteMatch, field: &str) -> Result<v1::Match, Fault> {
    Ok(v1::Match {
        path: Some(v1::PathMatch {
            kind: Some(call_match(
                spec.method.as_ref(),
                &format!("{field}.method"),
            )?),
        }),
        headers: values(
            &spec.headers,
            &format!("{field}.headers"),
            str::to_ascii_lowercase,
        )?,
        ..Default::default()
    })
}

fn call_match(spec: Option<&GrpcMethodMatch>, field: &str) -> Result<v1::path_match::Kind, Fault> {
    use v1::path_match::Kind;
    let given = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let (service, method, type_) = match spec {
        None => (None, None, "Exact"),
        Some(spec) => (
            given(&spec.service),
            given(&spec.method),
            spec.type_.as_deref().unwrap_or("Exact"),
        ),
    };
    let is_regex = match type_ {
        "Exact" => false,
        "RegularExpression" => true,
        other => return Err(unknown_type(other, field, "Exact, RegularExpression")),
    };
    for (name, text) in [("service", &service), ("method", &method)] {
        let Some(text) = text else { continue };
        let field = format!("{field}.{name}");
        if is_regex {
            check_regex(text, true, &field)?;
        } else if text.contains('/') {
            let problem = format!("`{text}` has a `/`; write the {name} alone");
            return Err(Fault::unsupported(field, problem));
        } else {
            path::check_match(&format!("/{text}"))
                .map_err(|problem| Fault::unsupported(field, problem))?;
        }
    }
    Ok(match (service, method) {
        (None, None) => Kind::Prefix("/".to_owned()),
        (Some(service), Some(method)) if !is_regex => Kind::Exact(format!("/{service}/{method}")),
        (Some(service), None) if !is_regex => Kind::Prefix(format!("/{service}")),
        (service, method) => {
            let part = |text: Option<String>| match text {
                Some(text) if is_regex => format!("(?:{text})"),
                Some(text) => regex::escape(&text),
                None => "[^/]+".to_owned(),
            };
            let pattern = format!("/{}/{}", part(service), part(method));
            check_regex(&pattern, true, field)?;
            Kind::Regex(pattern)
        }
    })
}

fn path_match(spec: Option<&HttpPathMatch>, field: &str) -> Result<v1::path_match::Kind, Fault> {
    let value = spec.and_then(|spec| spec.value.as_deref()).unwrap_or("/");
    let plain = || {
        path::check_match(value)
            .map_err(|problem| Fault::unsupported(format_args!("{field}.value"), problem))
    };
    match spec
        .and_then(|spec| spec.type_.as_deref())
        .unwrap_or("PathPrefix")
    {
        "Exact" => {
            plain()?;
            Ok(v1::path_match::Kind::Exact(value.to_owned()))
        }
        "PathPrefix" => {
            plain()?;
            // A trailing slash does not change which elements a prefix has.
            let prefix = value
                .strip_suffix('/')
                .filter(|prefix| !prefix.is_empty())
                .unwrap_or(value);
            Ok(v1::path_match::Kind::Prefix(prefix.to_owned()))
        }
        "RegularExpression" => {
            check_regex(value, true, &format!("{field}.value"))?;
            Ok(v1::path_match::Kind::Regex(value.to_owned()))
        }
        other => Err(unknown_type(
            other,
            field,
            "Exact, PathPrefix, RegularExpression",
        )),
    }
}

/// Of two with the same name the first counts, as the Gateway API says.
fn values(
    specs: &[HttpValueMatch],
    field: &str,
    canonical: impl Fn(&str) -> String,
) -> Result<Vec<v1::ValueMatch>, Fault> {
    let mut seen = BTreeSet::new();
    let mut matches = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let name = canonical(&spec.name);
        let well_formed = if field.contains("queryParams") {
            !name.is_empty()
        } else {
            is_token(&name)
        };
        if !well_formed {
            let problem = format!("`{}` is no name; write letters, digits and `-`", spec.name);
            return Err(Fault::unsupported(format_args!("{field}.name"), problem));
        }
        let kind = match spec.type_.as_deref().unwrap_or("Exact") {
            "Exact" => v1::value_match::Kind::Exact(spec.value.clone()),
            "RegularExpression" => {
                check_regex(&spec.value, false, &format!("{field}.value"))?;
                v1::value_match::Kind::Regex(spec.value.clone())
            }
            other => return Err(unknown_type(other, &field, "Exact, RegularExpression")),
        };
        if seen.insert(name.clone()) {
            matches.push(v1::ValueMatch {
                name,
                kind: Some(kind),
            });
        }
    }
    Ok(matches)
}

/// Compiled as the dataplane does, which would refuse the whole configuration for one
/// pattern: by itself first, because `a)|(b` would get out of the group around it.
fn check_regex(pattern: &str, of_path: bool, field: &str) -> Result<(), Fault> {
    let whole = format!(r"\A(?:{pattern})\z");
    let compiled = if of_path {
        let alone = Regex::new(pattern);
        alone
            .and_then(|_| {
                RegexBuilder::new(&whole)
                    .size_limit(LARGEST_PATTERN)
                    .build()
            })
            .map(drop)
    } else {
        let alone = bytes::Regex::new(pattern);
        alone
            .and_then(|_| {
                bytes::RegexBuilder::new(&whole)
                    .size_limit(LARGEST_PATTERN)
                    .build()
            })
            .map(drop)
    };
    compiled.map_err(|error| {
        // The library draws a picture of several lines and says what it is in the last.
        let text = error.to_string();
        let problem = text
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        let problem = format!("`{pattern}` is no regular expression: {problem}; write RE2 syntax");
        Fault::unsupported(field, problem)
    })
}

fn unknown_type(word: &str, field: &str, known: &str) -> Fault {
    Fault::unsupported(
        format_args!("{field}.type"),
        format_args!("`{word}` is none of {known}"),
    )
}

/// RFC 9110 5.6.2.
pub(crate) fn is_token(name: &str) -> bool {
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(is_tchar)
}

pub(crate) const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

/// Bytes of a compiled pattern. Patterns come from whoever may write routes.
const LARGEST_PATTERN: usize = 1 << 20;
