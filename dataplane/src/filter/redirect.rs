//! Answers that send the client elsewhere.

use http::{HeaderValue, Response, StatusCode, Uri, header::LOCATION};

use super::{Context, path::PathModifier, refusal};
use crate::snapshot::Scheme;

/// HTTPRequestRedirectFilter of the Gateway API. What is `None` stays the request's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    pub scheme: Option<Scheme>,
    pub hostname: Option<Box<str>>,
    pub path: Option<PathModifier>,
    /// `None`: the default port of `scheme` if that is set, or the listener's.
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

impl Redirect {
    pub(super) fn answer(&self, uri: &Uri, context: &Context<'_>) -> Response<()> {
        let Ok(location) = HeaderValue::try_from(self.location(uri, context)) else {
            return refusal();
        };
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        response.headers_mut().insert(LOCATION, location);
        response
    }

    fn location(&self, uri: &Uri, context: &Context<'_>) -> String {
        let scheme = self.scheme.unwrap_or(context.scheme);
        let host = self.hostname.as_deref().unwrap_or(context.host);
        let mut location = format!("{scheme}://{host}");
        let derived = self.scheme.map_or(context.port, Scheme::default_port);
        let port = self.port.unwrap_or(derived);
        if port != scheme.default_port() {
            location.push_str(&format!(":{port}"));
        }
        match &self.path {
            Some(modifier) => {
                location.push_str(&modifier.apply(uri.path(), context.matched_prefix))
            }
            None => location.push_str(uri.path()),
        }
        if let Some(query) = uri.query() {
            location.push('?');
            location.push_str(query);
        }
        location
    }
}
