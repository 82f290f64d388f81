//! The table against a search that tries everything, over random routes and requests.

use std::cmp::Reverse;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rand::{Rng, RngExt as _};

use super::*;

const HOSTS: [&str; 7] = [
    "*",
    "*.com",
    "*.a.com",
    "*.b.a.com",
    "a.com",
    "b.a.com",
    "c.b.a.com",
];
const NAMES: [&str; 8] = [
    "a.com",
    "b.a.com",
    "c.b.a.com",
    "d.c.b.a.com",
    "B.A.com.",
    "x.com",
    "x.org",
    "",
];
const PATHS: [&str; 9] = [
    "/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/ab", "/b", "/b/a",
];
const PREFIXES: [&str; 6] = ["", "/a", "/a/b", "/ab", "/b", "/a/b/c/d"];
const PATTERNS: [&str; 5] = ["/a.*", "/[ab]", "/a|/b", "/.+/b", ".*"];
const METHODS: [Method; 3] = [Method::GET, Method::POST, Method::PUT];
const FIELDS: [&str; 3] = ["x-one", "x-two", "x-three"];
const VALUES: [&str; 3] = ["1", "2", "3"];

/// Few choices, so that rules often compete.
fn one<T: Clone>(rng: &mut impl Rng, of: &[T]) -> T {
    of[rng.random_range(0..of.len())].clone()
}

fn random_value(rng: &mut impl Rng) -> ValueMatch {
    match rng.random_bool(0.5) {
        true => ValueMatch::Exact(one(rng, &VALUES).as_bytes().into()),
        false => ValueMatch::regex(one(rng, &["1|2", ".", "[23]"])).expect("a pattern"),
    }
}

fn random_conditions(rng: &mut impl Rng) -> Conditions {
    let method = rng.random_bool(0.3).then(|| one(rng, &METHODS));
    let mut names = |chance| {
        let chosen = FIELDS.into_iter().filter(|_| rng.random_bool(chance));
        chosen.collect::<Vec<_>>()
    };
    let (headers, query) = (names(0.2), names(0.15));
    let header = |name| (HeaderName::from_static(name), random_value(rng));
    let headers = headers.into_iter().map(header).collect();
    let query = query
        .into_iter()
        .map(|name| (name.into(), random_value(rng)))
        .collect();
    Conditions {
        method,
        headers,
        query,
    }
}

fn random_path(rng: &mut impl Rng) -> PathMatch {
    match rng.random_range(0..4) {
        0 => PathMatch::Exact(one(rng, &PATHS).into()),
        1 => PathMatch::regex(one(rng, &PATTERNS)).expect("a pattern"),
        _ => PathMatch::Prefix(one(rng, &PREFIXES).into()),
    }
}

fn random_candidates(rng: &mut impl Rng) -> Vec<(HostPattern, Arc<Candidate>)> {
    let mut candidates = Vec::new();
    for route in 0..rng.random_range(1..6) {
        let route = Arc::new(Route {
            id: format!("HTTPRoute/default/{route}").into(),
            created_at: rng.random_range(0..3),
        });
        let hosts: Vec<HostPattern> = (0..rng.random_range(1..3))
            .map(|_| one(rng, &HOSTS).parse().unwrap())
            .collect();
        for rule in 0..rng.random_range(1..4) {
            let shared = Arc::new(Rule {
                name: "".into(),
                filters: Vec::new(),
                backends: Vec::new(),
                request_timeout: None,
                backend_request_timeout: None,
                retry: None,
            });
            for matching in 0..rng.random_range(1..3) {
                let candidate = Arc::new(Candidate {
                    path: random_path(rng),
                    conditions: random_conditions(rng),
                    route: route.clone(),
                    rule: shared.clone(),
                    position: (rule, matching),
                });
                candidates.extend(hosts.iter().map(|host| (host.clone(), candidate.clone())));
            }
        }
    }
    candidates
}

fn path_matches(matching: &PathMatch, path: &str) -> bool {
    match matching {
        PathMatch::Exact(exact) => **exact == *path,
        PathMatch::Prefix(prefix) => {
            let rest = path.strip_prefix(&**prefix);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        PathMatch::Regex(regex) => regex.is_match(path),
    }
}

/// Tries every match; of those that hold takes the one that the Gateway API puts first.
fn naive<'a>(
    candidates: &'a [(HostPattern, Arc<Candidate>)],
    host: &str,
    request: &Request<'_>,
) -> Option<&'a Candidate> {
    let host = host.trim_end_matches('.').to_lowercase();
    let holds = |(pattern, candidate): &&(HostPattern, Arc<Candidate>)| {
        pattern.matches(&host)
            && path_matches(&candidate.path, request.path)
            && candidate.conditions.hold(request)
    };
    let found = candidates
        .iter()
        .filter(holds)
        .min_by_key(|(pattern, candidate)| {
            let host = match pattern {
                HostPattern::Exact(_) => (0, Reverse(0)),
                HostPattern::Wildcard(suffix) => (1, Reverse(suffix.len())),
                HostPattern::Any => (2, Reverse(0)),
            };
            let kind = match candidate.path {
                PathMatch::Exact(_) => 0,
                PathMatch::Regex(_) => 1,
                PathMatch::Prefix(_) => 2,
            };
            let Conditions {
                method,
                headers,
                query,
            } = &candidate.conditions;
            let specific = (
                candidate.path.length(),
                usize::from(method.is_some()),
                headers.len(),
                query.len(),
            );
            let Route { id, created_at } = &*candidate.route;
            (
                host,
                kind,
                Reverse(specific),
                *created_at,
                id.clone(),
                candidate.position,
            )
        });
    found.map(|(_, candidate)| &**candidate)
}

/// How often a look-up of a round found a rule, found none, and had several to choose from.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    found: usize,
    missed: usize,
    competed: usize,
}

/// Builds a table and looks requests up in it, all of `rng`'s choice. Panics where the table
/// does not find what trying everything finds.
pub(crate) fn round(rng: &mut impl Rng, lookups: usize, tally: &mut Tally) {
    let candidates = random_candidates(rng);
    let table = RouteTable::new(candidates.clone());
    for _ in 0..lookups {
        let mut headers = HeaderMap::new();
        for name in FIELDS {
            if rng.random_bool(0.6) {
                headers.append(name, HeaderValue::from_static(one(rng, &VALUES)));
            }
        }
        let query = FIELDS
            .map(|name| format!("{name}={}", one(rng, &VALUES)))
            .join("&");
        let request = Request {
            method: &one(rng, &METHODS),
            path: one(rng, &PATHS),
            query: rng.random_bool(0.7).then_some(&*query),
            headers: &headers,
        };
        look_up(&candidates, &table, one(rng, &NAMES), &request, tally);
    }
}

fn look_up(
    candidates: &[(HostPattern, Arc<Candidate>)],
    table: &RouteTable,
    host: &str,
    request: &Request<'_>,
    tally: &mut Tally,
) {
    let Request {
        method,
        path,
        query,
        headers,
    } = *request;
    let actual = table.find(host, method, path, query, headers);
    let expected = naive(candidates, host, request);
    let what = || format!("{host} {request:?} in {candidates:#?}");
    assert_eq!(
        actual.map(|found| (&found.route.id, Arc::as_ptr(found.rule))),
        expected.map(|expected| (&expected.route.id, Arc::as_ptr(&expected.rule))),
        "{}",
        what()
    );
    let Some(candidate) = expected else {
        tally.missed += 1;
        return;
    };
    tally.found += 1;
    let others = candidates.iter().filter(|(_, other)| {
        !Arc::ptr_eq(&other.rule, &candidate.rule)
            && path_matches(&other.path, path)
            && other.conditions.hold(request)
    });
    tally.competed += usize::from(others.count() > 0);
    let prefix = match &candidate.path {
        PathMatch::Prefix(prefix) if prefix.is_empty() => Some("/"),
        PathMatch::Prefix(prefix) => Some(&**prefix),
        _ => None,
    };
    assert_eq!(
        actual.and_then(|found| found.matched_prefix),
        prefix,
        "{}",
        what()
    );
}

#[test]
fn the_table_finds_what_trying_everything_finds() {
    use rand::{SeedableRng as _, rngs::StdRng};

    let mut rng = StdRng::seed_from_u64(11);
    let mut tally = Tally::default();
    for _ in 0..400 {
        round(&mut rng, 50, &mut tally);
    }
    // A test over requests that match nothing, or one rule only, would show nothing.
    let Tally {
        found,
        missed,
        competed,
    } = tally;
    assert!(
        found > 5_000 && missed > 1_000 && competed > 3_000,
        "{tally:?}"
    );
}
