//! Filters from the wire.

use http::{HeaderName, HeaderValue, Method, StatusCode, uri::Authority};
use tidegate_proto::v1;

use super::{backend::Backends, binding::Scheme, problems::Object};
use crate::{
    filter::{
        Cors, Filter, HeaderModifier, Mirror, Names, OriginPattern, PathModifier, Redirect,
        Rewrite, field_name,
    },
    path,
    route::HostPattern,
};

/// What is said of a oneof that is empty: the sender may know a kind that this program does
/// not, and leaving it out would do something else than was asked for.
pub(super) const UNKNOWN_KIND: &str =
    "has no kind that this version knows; give one, or upgrade the dataplane";

/// `by_prefix`: whether each match of the rule is by prefix. `None` after a rejection.
pub(super) fn parse_all(
    wire: Vec<v1::Filter>,
    field: &str,
    by_prefix: bool,
    backends: &Backends,
    object: &mut Object<'_>,
) -> Option<Vec<Filter>> {
    let parsed = wire.into_iter().enumerate().map(|(index, filter)| {
        Reader {
            field: format!("{field}[{index}]"),
            by_prefix,
            backends,
            object: &mut *object,
        }
        .filter(filter)
    });
    // Collected first, so that every bad filter is reported and not the first alone.
    parsed.collect::<Vec<_>>().into_iter().collect()
}

struct Reader<'a, 'b> {
    field: String,
    by_prefix: bool,
    backends: &'a Backends,
    object: &'a mut Object<'b>,
}

impl Reader<'_, '_> {
    fn accept<T>(&mut self, field: &str, result: Result<T, String>) -> Option<T> {
        self.object
            .accept(format!("{}.{field}", self.field), result)
    }

    fn filter(mut self, wire: v1::Filter) -> Option<Filter> {
        use v1::filter::Kind;
        match wire.kind {
            Some(Kind::RequestHeaders(modifier)) => self
                .headers("request_headers", modifier)
                .map(Filter::RequestHeaders),
            Some(Kind::ResponseHeaders(modifier)) => self
                .headers("response_headers", modifier)
                .map(Filter::ResponseHeaders),
            Some(Kind::Redirect(redirect)) => self.redirect(redirect).map(Filter::Redirect),
            Some(Kind::Rewrite(rewrite)) => self.rewrite(rewrite).map(Filter::Rewrite),
            Some(Kind::Mirror(mirror)) => self.mirror(&mirror).map(Filter::Mirror),
            Some(Kind::Cors(cors)) => self.cors(cors).map(Filter::Cors),
            None => {
                self.object.refuse(self.field, UNKNOWN_KIND);
                None
            }
        }
    }

    fn headers(&mut self, kind: &str, wire: v1::HeaderModifier) -> Option<HeaderModifier> {
        let set = self.fields(&format!("{kind}.set"), wire.set);
        let add = self.fields(&format!("{kind}.add"), wire.add);
        let remove =
            wire.remove.iter().enumerate().map(|(index, name)| {
                self.accept(&format!("{kind}.remove[{index}]"), field_name(name))
            });
        let remove: Vec<_> = remove.collect();
        let remove: Option<_> = remove.into_iter().collect();
        Some(HeaderModifier {
            set: set?,
            add: add?,
            remove: remove?,
        })
    }

    fn fields(
        &mut self,
        field: &str,
        wire: Vec<v1::HeaderField>,
    ) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let parsed = wire.into_iter().enumerate().map(|(index, pair)| {
            let name = self.accept(&format!("{field}[{index}].name"), field_name(&pair.name));
            // White space around a value is no part of it (RFC 9110 5.5), and HTTP/2 forbids it.
            let value = pair.value.trim_matches([' ', '\t']);
            let value = HeaderValue::try_from(value).map_err(|_| {
                "has a control character, which no field value may have; remove it".to_owned()
            });
            let value = self.accept(&format!("{field}[{index}].value"), value);
            name.zip(value)
        });
        parsed.collect::<Vec<_>>().into_iter().collect()
    }

    fn mirror(&mut self, wire: &v1::Mirror) -> Option<Mirror> {
        let id = wire.backend_id.as_str();
        let backend = match self.backends.get(id) {
            None if !id.is_empty() => Err(format!(
                "no backend has the id `{id}`; add it to `backends`"
            )),
            found => Ok(found.cloned().flatten()),
        };
        let backend = self.accept("mirror.backend_id", backend);
        let fraction = match (wire.numerator, wire.denominator) {
            (_, 0) => Ok((1, 1)),
            (part, whole) if part <= whole => Ok((part, whole)),
            (part, whole) => Err(format!(
                "{part} of {whole} is more than all requests; use at most {whole}"
            )),
        };
        let (numerator, denominator) = self.accept("mirror.numerator", fraction)?;
        Some(Mirror {
            backend: backend?,
            numerator,
            denominator,
        })
    }

    fn cors(&mut self, wire: v1::Cors) -> Option<Cors> {
        let origins = wire.allow_origins.iter().enumerate().map(|(index, text)| {
            let field = format!("cors.allow_origins[{index}]");
            self.accept(&field, OriginPattern::parse(text))
        });
        let origins: Vec<_> = origins.collect();
        let origins = origins.into_iter().collect::<Option<Vec<_>>>();
        let is_method = |text: &str| match Method::try_from(text) {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("`{text}` is no method; use one as GET")),
        };
        let is_name = |text: &str| match HeaderName::try_from(text) {
            Ok(_) => Ok(()),
            Err(_) => Err(format!(
                "`{text}` is no field name; use letters, digits and -"
            )),
        };
        let methods = self.names("cors.allow_methods", &wire.allow_methods, is_method);
        let headers = self.names("cors.allow_headers", &wire.allow_headers, is_name);
        let exposed = self.names("cors.expose_headers", &wire.expose_headers, is_name);
        let max_age = match wire.max_age_seconds {
            0 => DEFAULT_MAX_AGE,
            seconds => seconds,
        };
        Some(Cors {
            origins: origins?,
            credentials: wire.allow_credentials,
            methods: methods?,
            headers: headers?,
            exposed: exposed?,
            max_age: HeaderValue::from(max_age),
        })
    }

    fn names(
        &mut self,
        field: &str,
        wire: &[String],
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<Names> {
        if wire.iter().any(|name| name == "*") {
            return Some(Names::Any);
        }
        let checked = wire
            .iter()
            .enumerate()
            .map(|(index, name)| self.accept(&format!("{field}[{index}]"), check(name)));
        let checked: Vec<_> = checked.collect();
        checked.into_iter().collect::<Option<()>>()?;
        // Names and methods are tokens, and so is what a list of them is made of.
        let list = HeaderValue::try_from(wire.join(", ")).ok()?;
        Some(Names::Listed((!wire.is_empty()).then_some(list)))
    }

    fn redirect(&mut self, wire: v1::Redirect) -> Option<Redirect> {
        let scheme = match wire.scheme.as_str() {
            "" => Ok(None),
            "http" => Ok(Some(Scheme::Http)),
            "https" => Ok(Some(Scheme::Https)),
            other => Err(format!(
                "`{other}` is none to redirect to; use http or https"
            )),
        };
        let scheme = self.accept("redirect.scheme", scheme);
        let hostname = self.hostname("redirect.hostname", &wire.hostname);
        let path = self.path("redirect.path", wire.path);
        let port = match u16::try_from(wire.port) {
            Ok(0) => Ok(None),
            Ok(port) => Ok(Some(port)),
            Err(_) => Err(format!("{} is no port; use 1 to 65535", wire.port)),
        };
        let port = self.accept("redirect.port", port);
        let status = match wire.status {
            0 | 302 => Ok(StatusCode::FOUND),
            301 => Ok(StatusCode::MOVED_PERMANENTLY),
            303 => Ok(StatusCode::SEE_OTHER),
            307 => Ok(StatusCode::TEMPORARY_REDIRECT),
            308 => Ok(StatusCode::PERMANENT_REDIRECT),
            other => Err(format!(
                "{other} is no redirect; use 301, 302, 303, 307 or 308"
            )),
        };
        let status = self.accept("redirect.status", status);
        Some(Redirect {
            scheme: scheme?,
            hostname: hostname?,
            path: path?,
            port: port?,
            status: status?,
        })
    }

    fn rewrite(&mut self, wire: v1::UrlRewrite) -> Option<Rewrite> {
        let hostname = self.hostname("rewrite.hostname", &wire.hostname);
        let path = self.path("rewrite.path", wire.path);
        let hostname = match hostname? {
            // A host name is an authority without port and user.
            Some(name) => Some(Authority::try_from(&*name).ok()?),
            None => None,
        };
        Some(Rewrite {
            hostname,
            path: path?,
        })
    }

    /// `Some(None)`: left to the request.
    fn hostname(&mut self, field: &str, wire: &str) -> Option<Option<Box<str>>> {
        if wire.is_empty() {
            return Some(None);
        }
        let name = match wire.parse() {
            Ok(HostPattern::Exact(name)) => Ok(Some(Box::from(&*name))),
            Ok(_) => Err(format!(
                "`{wire}` is no single name; give one as www.example.com"
            )),
            Err(error) => Err(error.to_string()),
        };
        self.accept(field, name)
    }

    /// `Some(None)`: left to the request.
    fn path(
        &mut self,
        field: &str,
        wire: Option<v1::PathModifier>,
    ) -> Option<Option<PathModifier>> {
        use v1::path_modifier::Kind;
        let Some(wire) = wire else {
            return Some(None);
        };
        let modifier = match wire.kind {
            Some(Kind::ReplaceFull(path)) => self
                .accept(&format!("{field}.replace_full"), replacement(&path))
                .map(PathModifier::ReplaceFull),
            Some(Kind::ReplacePrefix(path)) => {
                let path = match self.by_prefix {
                    true => replacement(&path),
                    false => Err("needs a rule whose matches are all by prefix; \
                                  use replace_full, or change the matches"
                        .to_owned()),
                };
                self.accept(&format!("{field}.replace_prefix"), path)
                    .map(PathModifier::ReplacePrefix)
            }
            None => self.accept(field, Err(UNKNOWN_KIND.to_owned())),
        };
        modifier.map(Some)
    }
}

/// Access-Control-Max-Age, in seconds, where none is given.
const DEFAULT_MAX_AGE: u32 = 5;

/// A slash at the beginning may be left out.
fn replacement(path: &str) -> Result<Box<str>, String> {
    let absolute = if path.starts_with('/') {
        path.into()
    } else {
        format!("/{path}")
    };
    match path::canonical(&absolute) {
        Ok(canonical) => Ok(canonical.into()),
        Err(reason) => Err(format!("`{path}` cannot be used: {reason}; correct it")),
    }
}
