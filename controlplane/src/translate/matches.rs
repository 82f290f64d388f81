//! `matches[]` of a rule: checked, with defaults filled in.

use std::collections::BTreeSet;

use tidegate_proto::v1;

use super::Fault;
use crate::gateway_api::{HttpPathMatch, HttpRouteMatch, HttpValueMatch};

/// One match at `field`.
pub(super) fn translate(spec: &HttpRouteMatch, field: &str) -> Result<v1::Match, Fault> {
    let method = spec.method.clone().unwrap_or_default();
    if !method.is_empty() && !METHODS.contains(&method.as_str()) {
        let problem = format!("`{method}` is none of {}", METHODS.join(", "));
        return Err(Fault::unsupported(format_args!("{field}.method"), problem));
    }
    Ok(v1::Match {
        path: Some(v1::PathMatch {
            kind: Some(path(spec.path.as_ref(), &format!("{field}.path"))?),
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

fn path(spec: Option<&HttpPathMatch>, field: &str) -> Result<v1::path_match::Kind, Fault> {
    let value = spec.and_then(|spec| spec.value.as_deref()).unwrap_or("/");
    let plain = || {
        check_path(value)
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
            check_regex(value, field)?;
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
                check_regex(&spec.value, &field)?;
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

/// A path that a canonical request path can equal or begin with.
fn check_path(value: &str) -> Result<(), String> {
    if !value.starts_with('/') {
        return Err(format!(
            "`{value}` does not begin with `/`; write an absolute path"
        ));
    }
    if !value
        .bytes()
        .all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#'))
    {
        return Err(format!(
            "`{}` is no path; percent-encode what is not ASCII, leave out `?` and `#`",
            value.escape_default()
        ));
    }
    let dotted = value
        .split('/')
        .any(|element| element == "." || element == "..");
    if dotted || value.contains("//") || value.to_ascii_lowercase().contains("%2f") {
        return Err(format!(
            "`{value}` matches no request, whose path has no `//`, `.`, `..` or `%2F`; write it without"
        ));
    }
    Ok(())
}

/// Compiled as the dataplane does: the whole value, within a bound of size.
fn check_regex(pattern: &str, field: &str) -> Result<(), Fault> {
    regex::RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(REGEX_SIZE_LIMIT)
        .build()
        .map(drop)
        .map_err(|error| {
            // The last line says what; those before draw a picture of the place.
            let text = error.to_string();
            let problem = text
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            let problem =
                format!("`{pattern}` is no regular expression: {problem}; write RE2 syntax");
            Fault::unsupported(format_args!("{field}.value"), problem)
        })
}

fn unknown_type(word: &str, field: &str, known: &str) -> Fault {
    Fault::unsupported(
        format_args!("{field}.type"),
        format_args!("`{word}` is none of {known}"),
    )
}

/// RFC 9110 5.6.2.
pub(super) fn is_token(name: &str) -> bool {
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(is_tchar)
}

const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

/// Bytes of a compiled pattern. Patterns come from whoever may write routes.
const REGEX_SIZE_LIMIT: usize = 1 << 20;
