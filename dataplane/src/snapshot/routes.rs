//! Routes from the wire, spread over the listeners that they are attached to.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use http::{HeaderName, Method};
use tidegate_proto::v1;

use super::{
    backend::Backends,
    filters::{self, UNKNOWN_KIND},
    limits::MAX_MILLISECONDS,
    problems::{Object, Problems},
};
use crate::{
    balance::WeightedBackend,
    path,
    route::{
        Candidate, Conditions, HostPattern, PathMatch, Retry, Route, RouteTable, Rule, ValueMatch,
    },
};

const MAX_WEIGHT: u32 = 1_000_000;
const LEAST_BACKOFF: Duration = Duration::from_millis(25);

/// The matches of each listener, by its id.
#[derive(Debug, Default)]
pub(super) struct Routes(HashMap<String, Vec<(HostPattern, Arc<Candidate>)>>);

impl Routes {
    pub(super) fn parse(
        wire: Vec<v1::Route>,
        listeners: &[v1::Listener],
        backends: &Backends,
        problems: &mut Problems,
    ) -> Self {
        let listeners = listeners
            .iter()
            .map(|listener| (listener.id.clone(), Vec::new()));
        let mut routes = Self(listeners.collect());
        let mut seen = HashSet::new();
        for route in wire {
            let mut object = problems.of(&route.id);
            if route.id.is_empty() {
                object.refuse("id", "a route has no id; name it Kind/namespace/name");
            }
            if !seen.insert(route.id.clone()) {
                object.refuse("id", "two routes have this id; remove one");
            }
            let parsed = Arc::new(Route {
                id: route.id.as_str().into(),
                created_at: route.created_at_seconds,
            });
            let mut candidates = Vec::new();
            for (index, rule) in route.rules.into_iter().enumerate() {
                candidates.extend(
                    Rules {
                        index,
                        backends,
                        object: &mut object,
                    }
                    .parse(rule, &parsed),
                );
            }
            for (index, attachment) in route.attachments.iter().enumerate() {
                routes.attach(attachment, index, &candidates, &mut object);
            }
        }
        routes
    }

    /// The table of a listener, which is asked for once.
    pub(super) fn table(&mut self, listener: &str) -> RouteTable {
        RouteTable::new(self.0.remove(listener).unwrap_or_default())
    }

    fn attach(
        &mut self,
        wire: &v1::Attachment,
        index: usize,
        candidates: &[Arc<Candidate>],
        object: &mut Object<'_>,
    ) {
        let field = format!("attachments[{index}]");
        let Some(of_listener) = self.0.get_mut(&wire.listener_id) else {
            let message = format!(
                "no listener has the id `{}`; add it to `listeners`, or detach the route",
                wire.listener_id
            );
            return object.refuse(format!("{field}.listener_id"), message);
        };
        if wire.hostnames.is_empty() {
            let message = "is empty, so that no request would match; use `*` for every host name";
            object.refuse(format!("{field}.hostnames"), message);
        }
        for (index, text) in wire.hostnames.iter().enumerate() {
            let field = format!("{field}.hostnames[{index}]");
            if text.is_empty() {
                object.refuse(field, "is empty; use `*` for every host name");
                continue;
            }
            if let Some(pattern) = object.accept(field, text.parse::<HostPattern>()) {
                let attached = candidates
                    .iter()
                    .map(|found| (pattern.clone(), found.clone()));
                of_listener.extend(attached);
            }
        }
    }
}

/// Reads one rule of a route.
struct Rules<'a, 'b> {
    index: usize,
    backends: &'a Backends,
    object: &'a mut Object<'b>,
}

impl Rules<'_, '_> {
    /// Its matches. Fewer than there are, after a rejection.
    fn parse(mut self, wire: v1::Rule, route: &Arc<Route>) -> Vec<Arc<Candidate>> {
        let field = format!("rules[{}]", self.index);
        let mut matches = wire.matches;
        if matches.is_empty() {
            matches.push(v1::Match::default());
        }
        let by_prefix = matches.iter().all(is_by_prefix);
        let filters = filters::parse_all(
            wire.filters,
            &format!("{field}.filters"),
            by_prefix,
            self.backends,
            self.object,
        );
        let backends = self.backends(wire.backends, &field, by_prefix);
        let request_timeout = self.timeout(&field, "request_timeout_ms", wire.request_timeout_ms);
        let backend_request_timeout = self.timeout(
            &field,
            "backend_request_timeout_ms",
            wire.backend_request_timeout_ms,
        );
        let retry = wire.retry.and_then(|retry| self.retry(&field, &retry));
        let rule = Arc::new(Rule {
            name: wire.name.into(),
            filters: filters.unwrap_or_default(),
            backends,
            request_timeout,
            backend_request_timeout,
            retry,
        });
        let parsed = matches.into_iter().enumerate().filter_map(|(index, wire)| {
            let field = format!("{field}.matches[{index}]");
            let path = path_match(wire.path, &format!("{field}.path"), self.object);
            let conditions =
                conditions(&wire.method, wire.headers, wire.query, &field, self.object);
            Some(Arc::new(Candidate {
                path: path?,
                conditions: conditions?,
                route: route.clone(),
                rule: rule.clone(),
                position: (self.index, index),
            }))
        });
        parsed.collect()
    }

    fn backends(
        &mut self,
        wire: Vec<v1::BackendRef>,
        field: &str,
        by_prefix: bool,
    ) -> Vec<WeightedBackend> {
        let mut parsed = Vec::with_capacity(wire.len());
        for (index, reference) in wire.into_iter().enumerate() {
            let field = format!("{field}.backends[{index}]");
            let id = reference.backend_id.as_str();
            let backend = self.backends.get(id);
            if backend.is_none() && !id.is_empty() {
                let message = format!("no backend has the id `{id}`; add it to `backends`");
                self.object.refuse(format!("{field}.backend_id"), message);
            }
            if reference.weight > MAX_WEIGHT {
                let message = format!("{} is too much; use 0 to {MAX_WEIGHT}", reference.weight);
                self.object.refuse(format!("{field}.weight"), message);
            }
            let filters = filters::parse_all(
                reference.filters,
                &format!("{field}.filters"),
                by_prefix,
                self.backends,
                self.object,
            );
            parsed.push(WeightedBackend {
                backend: backend.cloned().flatten(),
                weight: reference.weight,
                filters: filters.unwrap_or_default(),
            });
        }
        parsed
    }

    /// `None` where nothing is to be tried again.
    fn retry(&mut self, rule: &str, wire: &v1::Retry) -> Option<Retry> {
        let field = format!("{rule}.retry");
        for (index, code) in wire.codes.iter().enumerate() {
            if !(400..=599).contains(code) {
                let message = format!("{code} is no error; use 400 to 599");
                self.object
                    .refuse(format!("{field}.codes[{index}]"), message);
            }
        }
        if wire.backoff_ms > MAX_MILLISECONDS {
            let message = format!(
                "{} is too long; use at most {MAX_MILLISECONDS}",
                wire.backoff_ms
            );
            self.object.refuse(format!("{field}.backoff_ms"), message);
        }
        let backoff = match wire.backoff_ms {
            0 => LEAST_BACKOFF,
            given => Duration::from_millis(given),
        };
        let codes = wire.codes.iter().map(|code| u16::try_from(*code));
        (wire.attempts > 0).then(|| Retry {
            codes: codes.flatten().collect(),
            attempts: wire.attempts,
            backoff,
        })
    }

    fn timeout(&mut self, rule: &str, field: &str, wire: Option<u64>) -> Option<Duration> {
        let value = wire.filter(|value| *value != 0)?;
        if value > MAX_MILLISECONDS {
            let message =
                format!("{value} is too long; use at most {MAX_MILLISECONDS}, or 0 for off");
            self.object.refuse(format!("{rule}.{field}"), message);
        }
        Some(Duration::from_millis(value))
    }
}

fn is_by_prefix(wire: &v1::Match) -> bool {
    use v1::path_match::Kind;
    wire.path
        .as_ref()
        .is_none_or(|path| matches!(path.kind, Some(Kind::Prefix(_))))
}

/// Paths of rules get the form that paths of requests get.
fn path_match(
    wire: Option<v1::PathMatch>,
    field: &str,
    object: &mut Object<'_>,
) -> Option<PathMatch> {
    use v1::path_match::Kind;
    let Some(wire) = wire else {
        return Some(PathMatch::Prefix("".into()));
    };
    let canonical = |path: &str| match path::canonical(path) {
        Ok(canonical) => Ok(canonical.into_owned()),
        Err(reason) => Err(format!("`{path}` matches no request: {reason}; correct it")),
    };
    match wire.kind {
        Some(Kind::Exact(path)) => {
            let path = object.accept(format!("{field}.exact"), canonical(&path))?;
            Some(PathMatch::Exact(path.into()))
        }
        Some(Kind::Prefix(path)) => {
            let path = object.accept(format!("{field}.prefix"), canonical(&path))?;
            Some(PathMatch::Prefix(path.trim_end_matches('/').into()))
        }
        Some(Kind::Regex(pattern)) => {
            object.accept(format!("{field}.regex"), PathMatch::regex(&pattern))
        }
        None => {
            object.refuse(field, UNKNOWN_KIND);
            None
        }
    }
}

fn conditions(
    method: &str,
    headers: Vec<v1::ValueMatch>,
    query: Vec<v1::ValueMatch>,
    field: &str,
    object: &mut Object<'_>,
) -> Option<Conditions> {
    let method = match method {
        "" => Some(None),
        text => {
            let parsed = Method::try_from(text);
            let parsed = parsed.map_err(|_| format!("`{text}` is no method; use one as GET"));
            object.accept(format!("{field}.method"), parsed).map(Some)
        }
    };
    let headers = values(headers, &format!("{field}.headers"), object, |name| {
        let parsed = HeaderName::try_from(name);
        parsed.map_err(|_| format!("`{name}` is no field name; use letters, digits and -"))
    });
    let query = values(query, &format!("{field}.query"), object, |name| {
        Ok(Box::from(name))
    });
    Some(Conditions {
        method: method?,
        headers: headers?,
        query: query?,
    })
}

/// Of several conditions on one name, the Gateway API takes the first.
fn values<N: Clone + Eq + std::hash::Hash>(
    wire: Vec<v1::ValueMatch>,
    field: &str,
    object: &mut Object<'_>,
    parse_name: impl Fn(&str) -> Result<N, String>,
) -> Option<Vec<(N, ValueMatch)>> {
    use v1::value_match::Kind;
    let mut seen = HashSet::new();
    let mut parsed = Some(Vec::with_capacity(wire.len()));
    for (index, wire) in wire.into_iter().enumerate() {
        let field = format!("{field}[{index}]");
        let name = object.accept(format!("{field}.name"), parse_name(&wire.name));
        let value = match wire.kind {
            Some(Kind::Exact(text)) => Some(ValueMatch::Exact(text.into_bytes().into())),
            Some(Kind::Regex(pattern)) => {
                object.accept(format!("{field}.regex"), ValueMatch::regex(&pattern))
            }
            None => {
                object.refuse(field, UNKNOWN_KIND);
                None
            }
        };
        match (name.zip(value), &mut parsed) {
            (None, _) => parsed = None,
            (Some((name, value)), Some(parsed)) if seen.insert(name.clone()) => {
                parsed.push((name, value));
            }
            (Some(_), _) => {}
        }
    }
    parsed
}
