//! What rules change in requests and responses: fields, host and path, redirects, CORS.
//!
//! Owns the Gateway API's rules for composing a `Location` and for replacing a prefix.
//! Never touches framing or hop-by-hop fields: a filter that names one is refused when
//! the snapshot is parsed. Pure; the proxy calls it between routing and balancing.

mod cors;
mod fields;
mod mirror;
mod path;
mod redirect;

#[cfg(test)]
mod tests;

use http::{
    HeaderMap, HeaderValue, Response, StatusCode, Uri,
    header::HOST,
    request::Parts,
    uri::{Authority, PathAndQuery},
};

pub(crate) use self::cors::{Names, OriginPattern};
pub use self::{
    cors::{Cors, Verdict, preflight},
    fields::{HeaderModifier, field_name},
    mirror::Mirror,
    path::PathModifier,
    redirect::Redirect,
};
use crate::snapshot::Scheme;

/// One step, in the order of the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    RequestHeaders(HeaderModifier),
    ResponseHeaders(HeaderModifier),
    Redirect(Redirect),
    Rewrite(Rewrite),
    /// Concerns the proxy alone, which asks for it with [`mirrors`].
    Mirror(Mirror),
    /// Comes before all others: see [`cors`].
    Cors(Cors),
}

/// Sends the request upstream under another host name or path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// `None`: unchanged.
    pub hostname: Option<Authority>,
    /// `None`: unchanged.
    pub path: Option<PathModifier>,
}

/// What filters have to know of the request beside its head.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Scheme that the client used.
    pub scheme: Scheme,
    /// Host that the client named, without the port.
    pub host: &'a str,
    /// Port of the listener.
    pub port: u16,
    /// As the route table found it.
    pub matched_prefix: Option<&'a str>,
}

/// Applies the filters to a request whose path is canonical. A response is the answer to
/// the client: nothing goes upstream then. The query is kept. A rewritten host is put in
/// `Host`, and in the URI if that has an authority.
#[must_use]
pub fn request(
    filters: &[Filter],
    parts: &mut Parts,
    context: &Context<'_>,
) -> Option<Response<()>> {
    for filter in filters {
        match filter {
            Filter::RequestHeaders(modifier) => modifier.apply(&mut parts.headers),
            Filter::ResponseHeaders(_) | Filter::Mirror(_) | Filter::Cors(_) => {}
            Filter::Redirect(redirect) => return Some(redirect.answer(&parts.uri, context)),
            Filter::Rewrite(rewrite) => {
                if rewrite.apply(parts, context.matched_prefix).is_err() {
                    return Some(refusal());
                }
            }
        }
    }
    None
}

/// Applies the filters that concern responses.
pub fn response(filters: &[Filter], headers: &mut HeaderMap) {
    for filter in filters {
        if let Filter::ResponseHeaders(modifier) = filter {
            modifier.apply(headers);
        }
    }
}

/// Where requests are to be copied to.
pub fn mirrors(filters: &[Filter]) -> impl Iterator<Item = &Mirror> {
    filters.iter().filter_map(|filter| match filter {
        Filter::Mirror(mirror) => Some(mirror),
        _ => None,
    })
}

/// The CORS filter, of which the Gateway API allows one.
pub fn cors(filters: &[Filter]) -> Option<&Cors> {
    filters.iter().find_map(|filter| match filter {
        Filter::Cors(cors) => Some(cors),
        _ => None,
    })
}

impl Rewrite {
    fn apply(&self, parts: &mut Parts, matched_prefix: Option<&str>) -> Result<(), http::Error> {
        let mut uri = parts.uri.clone().into_parts();
        if let Some(modifier) = &self.path {
            let path = modifier.apply(parts.uri.path(), matched_prefix);
            let whole = match parts.uri.query() {
                Some(query) => format!("{path}?{query}"),
                None => path.into_owned(),
            };
            uri.path_and_query = Some(PathAndQuery::try_from(whole)?);
        }
        if let Some(hostname) = &self.hostname {
            let host = HeaderValue::from_str(hostname.as_str())?;
            parts.headers.insert(HOST, host);
            if uri.authority.is_some() {
                uri.authority = Some(hostname.clone());
            }
        }
        parts.uri = Uri::from_parts(uri)?;
        Ok(())
    }
}

/// For a request whose parts make no valid URI or field once they are put together.
fn refusal() -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}
