//! Which rule serves a request.
//!
//! Owns host names, the conditions of rules and their precedence, as the Gateway API has
//! it: the most specific host name, then an exact path, a regular expression, the longest
//! prefix; then the match with a method, with most header and with most query conditions;
//! then the older route, the lesser id, the earlier rule. Between regular expressions,
//! which the API leaves open, the longer pattern comes first. A route whose host name is
//! more specific but whose conditions fail does not hide the others.
//!
//! Never changes a request and knows nothing of backends beyond their names. Pure; built
//! with the snapshot, asked by the proxy once a request.

mod condition;
mod host;
mod table;

#[cfg(any(test, debug_assertions))]
pub(crate) mod oracle;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method};

pub(crate) use self::{
    condition::{Conditions, PathMatch, ValueMatch},
    host::HostMap,
    table::Candidate,
};
pub use self::{
    host::{HostPattern, InvalidHost, canonical_host},
    table::RouteTable,
};
use crate::{balance::WeightedBackend, filter::Filter};

/// A route, of which rules are part.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    /// `HTTPRoute/namespace/name`.
    pub id: Arc<str>,
    /// UNIX seconds.
    pub created_at: i64,
}

/// What to do with the requests that match.
#[derive(Debug)]
pub struct Rule {
    /// Empty if it has none.
    pub name: Box<str>,
    pub filters: Vec<Filter>,
    pub backends: Vec<WeightedBackend>,
    /// From the request's first byte to the response's last. `None`: no limit.
    pub request_timeout: Option<Duration>,
    /// One attempt at a backend until its response head. `None`: no limit.
    pub backend_request_timeout: Option<Duration>,
    /// `None`: what fails is not tried again.
    pub retry: Option<Retry>,
}

/// When a request is sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Statuses of responses to try again after.
    pub codes: Box<[u16]>,
    /// After the first one. At least 1.
    pub attempts: u32,
    /// Least pause before each of them.
    pub backoff: Duration,
}

/// The rule that serves a request.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'a> {
    pub route: &'a Arc<Route>,
    pub rule: &'a Arc<Rule>,
    /// Where the rule matches by prefix: that, without a trailing slash, or `/`.
    pub matched_prefix: Option<&'a str>,
}

/// What is matched of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    /// Canonical.
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
}
