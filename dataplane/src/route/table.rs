//! The matches of one listener, arranged so that a lookup does not try each of them.

use std::{cmp::Reverse, sync::Arc};

use http::{HeaderMap, Method};
use rustc_hash::FxHashMap;

use super::{
    Conditions, HostMap, HostPattern, Matched, PathMatch, Request, Route, Rule, canonical_host,
};

/// The routes of one listener.
#[derive(Debug, Default)]
pub struct RouteTable {
    hosts: HostMap<Level>,
}

/// One match of one rule.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) path: PathMatch,
    pub(crate) conditions: Conditions,
    pub(crate) route: Arc<Route>,
    pub(crate) rule: Arc<Rule>,
    /// Indexes of the rule in the route and of the match in the rule.
    pub(crate) position: (usize, usize),
}

/// The matches of one host pattern. Each list is in order of precedence.
#[derive(Debug, Default)]
struct Level {
    exact: FxHashMap<Arc<str>, Vec<Arc<Candidate>>>,
    regexes: Vec<Arc<Candidate>>,
    prefixes: FxHashMap<Arc<str>, Vec<Arc<Candidate>>>,
    longest_prefix: usize,
}

/// Less comes first, among matches of the same host pattern and the same kind of path.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank<'a> {
    path: Reverse<usize>,
    method: Reverse<bool>,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    created_at: i64,
    route: &'a str,
    position: (usize, usize),
}

impl RouteTable {
    pub(crate) fn new(candidates: impl IntoIterator<Item = (HostPattern, Arc<Candidate>)>) -> Self {
        let mut hosts = HostMap::<Level>::default();
        for (host, candidate) in candidates {
            hosts.entry(&host).insert(candidate);
        }
        hosts.values_mut().for_each(Level::sort);
        Self { hosts }
    }

    /// The rule that serves this request. `host` without its port; `path` in canonical form.
    pub fn find(
        &self,
        host: &str,
        method: &Method,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Option<Matched<'_>> {
        let host = canonical_host(host);
        let request = Request {
            method,
            path,
            query,
            headers,
        };
        let found = self
            .hosts
            .levels(&host)
            .find_map(|level| level.find(&request))?;
        Some(found.matched())
    }
}

impl Candidate {
    pub(super) fn rank(&self) -> Rank<'_> {
        Rank {
            path: Reverse(self.path.length()),
            method: Reverse(self.conditions.method.is_some()),
            headers: Reverse(self.conditions.headers.len()),
            query: Reverse(self.conditions.query.len()),
            created_at: self.route.created_at,
            route: &self.route.id,
            position: self.position,
        }
    }

    fn matched(&self) -> Matched<'_> {
        let matched_prefix = match &self.path {
            PathMatch::Prefix(prefix) if prefix.is_empty() => Some("/"),
            PathMatch::Prefix(prefix) => Some(&**prefix),
            PathMatch::Exact(_) | PathMatch::Regex(_) => None,
        };
        Matched {
            route: &self.route,
            rule: &self.rule,
            matched_prefix,
        }
    }
}

impl Level {
    fn insert(&mut self, candidate: Arc<Candidate>) {
        let list = match &candidate.path {
            PathMatch::Exact(path) => self.exact.entry(path.clone()).or_default(),
            PathMatch::Prefix(prefix) => {
                self.longest_prefix = self.longest_prefix.max(prefix.len());
                self.prefixes.entry(prefix.clone()).or_default()
            }
            PathMatch::Regex(_) => &mut self.regexes,
        };
        list.push(candidate);
    }

    fn sort(&mut self) {
        let lists = self.exact.values_mut().chain(self.prefixes.values_mut());
        for list in lists.chain([&mut self.regexes]) {
            list.sort_by(|one, other| one.rank().cmp(&other.rank()));
        }
    }

    fn find(&self, request: &Request<'_>) -> Option<&Candidate> {
        let exact = self.exact.get(request.path).into_iter().flatten();
        let regexes = self.regexes.iter().filter(|candidate| {
            matches!(&candidate.path, PathMatch::Regex(regex) if regex.is_match(request.path))
        });
        let prefixes = prefixes(request.path, self.longest_prefix);
        let prefixes = prefixes
            .filter_map(|prefix| self.prefixes.get(prefix))
            .flatten();
        let mut candidates = exact.chain(regexes).chain(prefixes);
        candidates
            .find(|candidate| candidate.conditions.hold(request))
            .map(|found| &**found)
    }
}

/// Every prefix of whole segments that is not longer than `longest`, the longest first and
/// the empty one last. The bound keeps a path of many slashes from costing its square.
fn prefixes(path: &str, longest: usize) -> impl Iterator<Item = &str> {
    let whole = (path.len() <= longest && !path.ends_with('/')).then_some(path);
    let within = path.as_bytes();
    let within = &within[..within.len().min(longest + 1)];
    let ends = within
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'/');
    whole.into_iter().chain(ends.map(|(end, _)| &path[..end]))
}
