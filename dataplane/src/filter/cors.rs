//! The CORS protocol of the Fetch standard, as the Gateway API describes it.
//!
//! Decides from a request's head what browsers may be told, and writes the
//! `Access-Control-*` fields of answers. What an upstream says of CORS is taken out: one
//! origin's permission comes from one place.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use crate::snapshot::Scheme;

/// Which origins may read the responses of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    pub(crate) origins: Vec<OriginPattern>,
    pub(crate) credentials: bool,
    pub(crate) methods: Names,
    pub(crate) headers: Names,
    pub(crate) exposed: Names,
    /// Access-Control-Max-Age.
    pub(crate) max_age: HeaderValue,
}

/// A list of methods or field names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    Any,
    /// As it is sent; `None`: empty.
    Listed(Option<HeaderValue>),
}

/// An origin, or all of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OriginPattern {
    Any,
    Exact(Origin<Box<str>>),
    /// The host is what every host has to end with: `.example.com`, or empty.
    Below(Origin<Box<str>>),
}

/// RFC 6454, with the port always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin<H> {
    scheme: Scheme,
    host: H,
    port: u16,
}

/// What the CORS filter of a rule says of one request.
#[derive(Debug)]
pub struct Verdict<'a> {
    cors: &'a Cors,
    /// The client's origin, if it may read the response.
    origin: Option<HeaderValue>,
    preflight: Option<Preflight>,
}

#[derive(Debug)]
struct Preflight {
    method: HeaderValue,
    headers: Option<HeaderValue>,
}

/// The method that a preflight asks for, if the request is one.
pub fn preflight<'a>(method: &Method, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    (method == Method::OPTIONS && headers.contains_key(header::ORIGIN)).then_some(asked)
}

impl Cors {
    /// Looks at a request as the client sent it.
    pub fn judge(&self, method: &Method, headers: &HeaderMap) -> Verdict<'_> {
        let origin = headers.get(header::ORIGIN);
        let origin = origin.filter(|origin| self.allows(origin)).cloned();
        let preflight = preflight(method, headers).map(|method| Preflight {
            method: method.clone(),
            headers: headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned(),
        });
        Verdict {
            cors: self,
            origin,
            preflight,
        }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        if self.origins.contains(&OriginPattern::Any) {
            return true;
        }
        let Some(origin) = origin.to_str().ok().and_then(Origin::parse) else {
            return false;
        };
        self.origins.iter().any(|pattern| pattern.matches(&origin))
    }

    /// Every origin gets the same answer, which caches may share.
    fn is_for_all(&self) -> bool {
        !self.credentials && self.origins.contains(&OriginPattern::Any)
    }
}

impl Verdict<'_> {
    /// The answer to a preflight, which goes no further. One from an origin that is not
    /// allowed gets an answer without permissions.
    pub fn answer(&self) -> Option<Response<()>> {
        let preflight = self.preflight.as_ref()?;
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::NO_CONTENT;
        if self.origin.is_some() {
            let headers = response.headers_mut();
            let methods = self.names(&self.cors.methods, Some(&preflight.method));
            let allowed = self.names(&self.cors.headers, preflight.headers.as_ref());
            set(headers, header::ACCESS_CONTROL_ALLOW_METHODS, methods);
            set(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.cors.max_age.clone());
        }
        Some(response)
    }

    /// Writes what every answer to this request says of CORS.
    pub fn apply(&self, headers: &mut HeaderMap) {
        if self.preflight.is_none() {
            for name in &FROM_UPSTREAM {
                headers.remove(name);
            }
        }
        headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        if !self.cors.is_for_all() {
            vary_by_origin(headers);
        }
        let Some(origin) = &self.origin else { return };
        let origin = match self.cors.is_for_all() {
            true => ANY,
            false => origin.clone(),
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.cors.credentials {
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        let exposed = self.names(&self.cors.exposed, None);
        set(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }

    /// Browsers take `*` for a name where there are credentials: then it is what was asked for.
    fn names(&self, names: &Names, asked: Option<&HeaderValue>) -> Option<HeaderValue> {
        match names {
            Names::Any if self.cors.credentials => asked.cloned(),
            Names::Any => Some(ANY),
            Names::Listed(list) => list.clone(),
        }
    }
}

impl OriginPattern {
    /// `*`, an origin, or one whose host is `*` or begins with `*.`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let origin = Origin::parse(text)
            .ok_or_else(|| format!("`{text}` is no origin; use one as https://www.example.com"))?;
        let host = origin.host.to_ascii_lowercase();
        let (below, host) = match host.strip_prefix('*') {
            Some(suffix) => (true, suffix),
            None => (false, &*host),
        };
        if host.contains('*') || (below && !host.is_empty() && !host.starts_with('.')) {
            return Err(format!(
                "`{text}` has a wildcard that is no whole label; use one as https://*.example.com"
            ));
        }
        let origin = Origin {
            scheme: origin.scheme,
            host: Box::from(host),
            port: origin.port,
        };
        Ok(if below {
            Self::Below(origin)
        } else {
            Self::Exact(origin)
        })
    }

    fn matches(&self, origin: &Origin<&str>) -> bool {
        let same = |pattern: &Origin<Box<str>>| {
            pattern.scheme == origin.scheme && pattern.port == origin.port
        };
        match self {
            Self::Any => true,
            Self::Exact(pattern) => same(pattern) && pattern.host.eq_ignore_ascii_case(origin.host),
            Self::Below(pattern) => {
                let (host, end) = (origin.host.as_bytes(), pattern.host.as_bytes());
                let start = host.len().checked_sub(end.len());
                // Something has to be where the wildcard is.
                same(pattern)
                    && start.is_some_and(|at| at > 0 && host[at..].eq_ignore_ascii_case(end))
            }
        }
    }
}

impl<'a> Origin<&'a str> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = match scheme {
            _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
            _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
            _ => return None,
        };
        let port_at = rest.rfind(':').filter(|_| !rest.ends_with(']'));
        let (host, port) = match port_at {
            Some(at) => (&rest[..at], rest[at + 1..].parse().ok()?),
            None => (rest, scheme.default_port()),
        };
        let is_fine = !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']);
        is_fine.then_some(Self { scheme, host, port })
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

/// Adds Origin to Vary, unless it is there.
fn vary_by_origin(headers: &mut HeaderMap) {
    let varies = headers.get_all(header::VARY).iter().any(|value| {
        let mut names = value.as_bytes().split(|byte| *byte == b',');
        names.any(|name| {
            let name = name.trim_ascii();
            name == b"*" || name.eq_ignore_ascii_case(b"origin")
        })
    });
    if !varies {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

const ANY: HeaderValue = HeaderValue::from_static("*");

/// What an upstream that knows CORS itself may have said.
static FROM_UPSTREAM: [HeaderName; 5] = [
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

#[cfg(test)]
mod tests;
