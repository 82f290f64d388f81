//! The conditions of a match, and whether a request meets them.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header::COOKIE};
use regex::{Regex, RegexBuilder, bytes};

use super::Request;

/// Bytes that a compiled pattern may take.
const LARGEST_PATTERN: usize = 1 << 20;

/// How a match looks at the path.
#[derive(Clone, Debug)]
pub(crate) enum PathMatch {
    /// In canonical form.
    Exact(Arc<str>),
    /// In canonical form without a slash at the end, so empty for `/`. Whole segments.
    Prefix(Arc<str>),
    /// Anchored at both ends.
    Regex(Regex),
}

/// How a match looks at a field or a query parameter.
#[derive(Clone, Debug)]
pub(crate) enum ValueMatch {
    Exact(Box<[u8]>),
    /// Anchored at both ends.
    Regex(bytes::Regex),
}

/// Everything but the path. All of it has to hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) method: Option<Method>,
    /// Each name once.
    pub(crate) headers: Vec<(HeaderName, ValueMatch)>,
    /// Each name once, decoded.
    pub(crate) query: Vec<(Box<str>, ValueMatch)>,
}

impl PathMatch {
    pub(crate) fn regex(pattern: &str) -> Result<Self, String> {
        // By itself first: `a)|(b` would get out of the group around it.
        Regex::new(pattern).map_err(|error| explained(pattern, &error))?;
        let whole = RegexBuilder::new(&anchored(pattern))
            .size_limit(LARGEST_PATTERN)
            .build();
        whole
            .map(Self::Regex)
            .map_err(|error| explained(pattern, &error))
    }

    /// Characters that the configuration gives, which decide between matches of one kind.
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::Exact(path) | Self::Prefix(path) => path.len(),
            Self::Regex(regex) => regex.as_str().len(),
        }
    }
}

impl ValueMatch {
    pub(crate) fn regex(pattern: &str) -> Result<Self, String> {
        bytes::Regex::new(pattern).map_err(|error| explained(pattern, &error))?;
        let whole = bytes::RegexBuilder::new(&anchored(pattern))
            .size_limit(LARGEST_PATTERN)
            .build();
        whole
            .map(Self::Regex)
            .map_err(|error| explained(pattern, &error))
    }

    fn holds(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(expected) => **expected == *value,
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

impl Conditions {
    pub(crate) fn hold(&self, request: &Request<'_>) -> bool {
        self.method
            .as_ref()
            .is_none_or(|method| method == request.method)
            && self.headers.iter().all(|(name, expected)| {
                combined(request.headers, name).is_some_and(|value| expected.holds(&value))
            })
            && self.query.iter().all(|(name, expected)| {
                let value = request.query.and_then(|query| parameter(query, name));
                value.is_some_and(|value| expected.holds(&value))
            })
    }
}

/// The value of a field. Several lines are one (RFC 9110 5.2): a client cannot get a second
/// value past a rule.
fn combined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let mut lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let first = lines.next()?;
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return Some(Cow::Borrowed(first));
    }
    // RFC 9113 8.2.3 has its own separator for crumbs of cookies.
    let separator: &[u8] = if name == COOKIE { b"; " } else { b", " };
    let mut value = first.to_vec();
    for line in lines {
        value.extend_from_slice(separator);
        value.extend_from_slice(line);
    }
    Some(Cow::Owned(value))
}

/// The first value of a parameter, decoded. One without `=` is empty.
fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, [u8]>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.find(|(key, _)| *decoded(key) == *name.as_bytes())?;
    Some(decoded(value))
}

/// As forms encode: `+` is a space, and a `%` without digits is itself.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(bytes);
    }
    let digit = |at: usize| {
        bytes
            .get(at)
            .and_then(|digit| (*digit as char).to_digit(16))
    };
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        out.push(match byte {
            b'+' => b' ',
            b'%' => match digit(at).zip(digit(at + 1)) {
                Some((high, low)) => {
                    at += 2;
                    // Two hexadecimal digits fit a byte.
                    (high << 4 | low) as u8
                }
                None => b'%',
            },
            _ => byte,
        });
    }
    Cow::Owned(out)
}

fn anchored(pattern: &str) -> String {
    format!(r"\A(?:{pattern})\z")
}

fn explained(pattern: &str, error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => {
            format!("`{pattern}` takes more than {limit} bytes when compiled; repeat less in it")
        }
        error => {
            // The library draws a picture of several lines and says what it is in the last.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            let reason = last.strip_prefix("error: ").unwrap_or(last);
            format!("`{pattern}` is no regular expression of RE2 syntax: {reason}; correct it")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_the_first_of_its_name_decoded() {
        for (query, name, value) in [
            ("a=1&b=2", "b", Some("2")),
            ("a=1&a=2", "a", Some("1")),
            ("a", "a", Some("")),
            ("a=", "a", Some("")),
            ("a=b=c", "a", Some("b=c")),
            ("%61=%31+%32", "a", Some("1 2")),
            ("a=100%", "a", Some("100%")),
            ("a=%4", "a", Some("%4")),
            ("a=%zz", "a", Some("%zz")),
            ("A=1", "a", None),
            ("", "a", None),
            ("&&=x", "", Some("x")),
            ("b&&a=1", "a", Some("1")),
        ] {
            let found = parameter(query, name);
            assert_eq!(found.as_deref(), value.map(str::as_bytes), "{query} {name}");
        }
    }

    #[test]
    fn lines_of_one_field_are_one_value() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x", "1"), ("x", "2"), ("cookie", "a=1"), ("cookie", "b=2")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let value = |name: &'static str| {
            let name = HeaderName::from_static(name);
            combined(&headers, &name).map(|value| String::from_utf8(value.into_owned()).unwrap())
        };
        assert_eq!(value("x").as_deref(), Some("1, 2"));
        assert_eq!(value("cookie").as_deref(), Some("a=1; b=2"));
        assert_eq!(value("y"), None);
    }

    #[test]
    fn a_pattern_matches_the_whole_value() {
        let pattern = ValueMatch::regex("a|bc").unwrap();
        assert!(pattern.holds(b"a") && pattern.holds(b"bc"));
        assert!(!pattern.holds(b"ab") && !pattern.holds(b"abc") && !pattern.holds(b"a\n"));
        let bytes = ValueMatch::regex("(?-u:.)+").unwrap();
        assert!(bytes.holds(b"\xff\xfe"));
    }

    #[test]
    fn a_pattern_cannot_get_out_of_its_anchors() {
        for pattern in ["a)|(?:b", "(", "a{2", "*", "[", "(?x)a # b", "\\"] {
            let (path, value) = (PathMatch::regex(pattern), ValueMatch::regex(pattern));
            if let Ok(PathMatch::Regex(regex)) = path {
                assert!(!regex.is_match("a and more"), "{pattern}");
            }
            if let Ok(ValueMatch::Regex(regex)) = value {
                assert!(!regex.is_match(b"a and more"), "{pattern}");
            }
        }
        assert!(PathMatch::regex("a)|(?:b").is_err());
    }

    #[test]
    fn a_bad_pattern_is_explained_in_one_line() {
        let error = PathMatch::regex("/(a").expect_err("an open group");
        assert!(
            error.contains("`/(a`") && error.contains("unclosed group"),
            "{error}"
        );
        assert!(!error.contains('\n'), "{error}");
        let error = PathMatch::regex(r"/(\w{500}){500}").expect_err("a large pattern");
        assert!(error.contains("bytes when compiled"), "{error}");
    }
}
