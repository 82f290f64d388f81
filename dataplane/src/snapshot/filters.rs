//! Filters from the wire.

use http::{HeaderName, HeaderValue, StatusCode, uri::Authority};
use tidegate_proto::v1;

use super::{binding::Scheme, problems::Object};
use crate::{
    filter::{Filter, HeaderModifier, PathModifier, Redirect, Rewrite, field_name},
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
    object: &mut Object<'_>,
) -> Option<Vec<Filter>> {
    let parsed = wire.into_iter().enumerate().map(|(index, filter)| {
        Reader {
            field: format!("{field}[{index}]"),
            by_prefix,
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
            Some(Kind::Mirror(_) | Kind::Cors(_)) | None => {
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
            let value = HeaderValue::try_from(pair.value).map_err(|_| {
                "has a control character, which no field value may have; remove it".to_owned()
            });
            let value = self.accept(&format!("{field}[{index}].value"), value);
            name.zip(value)
        });
        parsed.collect::<Vec<_>>().into_iter().collect()
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
