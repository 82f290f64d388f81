use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tidegate_proto::v1;

use super::*;
use crate::snapshot::{Snapshot, fixture};

const LISTENER: &str = "default/edge/http";

/// The routes as a snapshot brings them.
fn snapshot(routes: Vec<v1::Route>) -> Snapshot {
    let mut wire = fixture::snapshot();
    wire.routes = routes;
    Snapshot::try_from(wire).expect("a good snapshot")
}

fn route(id: &str, hostnames: &[&str], matches: Vec<v1::Match>) -> v1::Route {
    let rules = matches
        .into_iter()
        .enumerate()
        .map(|(index, matching)| v1::Rule {
            name: format!("{id}{index}"),
            matches: vec![matching],
            ..Default::default()
        });
    let mut route = fixture::route(id, LISTENER, rules.collect());
    route.attachments[0].hostnames = hostnames.iter().map(|name| (*name).into()).collect();
    route
}

fn exact(path: &str) -> v1::Match {
    path_match(v1::path_match::Kind::Exact(path.into()))
}

fn prefix(path: &str) -> v1::Match {
    path_match(v1::path_match::Kind::Prefix(path.into()))
}

fn regex(path: &str) -> v1::Match {
    path_match(v1::path_match::Kind::Regex(path.into()))
}

fn path_match(kind: v1::path_match::Kind) -> v1::Match {
    v1::Match {
        path: Some(v1::PathMatch { kind: Some(kind) }),
        ..Default::default()
    }
}

fn values(pairs: &[(&str, &str)]) -> Vec<v1::ValueMatch> {
    let value = |(name, value): &(&str, &str)| v1::ValueMatch {
        name: (*name).into(),
        kind: Some(v1::value_match::Kind::Exact((*value).into())),
    };
    pairs.iter().map(value).collect()
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (
            HeaderName::try_from(*name).unwrap(),
            HeaderValue::try_from(*value).unwrap(),
        )
    };
    pairs.iter().map(pair).collect()
}

/// The name of the rule.
fn found<'a>(
    snapshot: &'a Snapshot,
    host: &str,
    method: Method,
    target: &str,
    fields: &[(&str, &str)],
) -> Option<&'a str> {
    let listener = snapshot
        .listeners()
        .find(|listener| &*listener.id == LISTENER);
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let routes = &listener.expect("the listener").routes;
    let found = routes.find(host, &method, path, query, &headers(fields))?;
    Some(&found.rule.name)
}

fn get<'a>(snapshot: &'a Snapshot, host: &str, target: &str) -> Option<&'a str> {
    found(snapshot, host, Method::GET, target, &[])
}

#[test]
fn an_exact_path_comes_before_a_pattern_before_the_longest_prefix() {
    let snapshot = snapshot(vec![route(
        "r",
        &["*"],
        vec![
            prefix("/"),
            prefix("/a/"),
            prefix("/a/b"),
            regex("/a/b/.+"),
            regex("/a/b/[cd]+/.*"),
            exact("/a/b/c"),
            exact("/a/"),
        ],
    )]);
    for (path, rule) in [
        ("/", "r0"),
        ("/x/y", "r0"),
        ("/ab", "r0"),
        ("/a", "r1"),
        ("/a/c", "r1"),
        ("/a/bc", "r1"),
        ("/a/b", "r2"),
        ("/a/b/", "r2"),
        ("/a/b/d", "r3"),
        ("/a/b/c/d", "r4"),
        ("/a/b/c", "r5"),
        ("/a/", "r6"),
    ] {
        assert_eq!(get(&snapshot, "x", path), Some(rule), "{path}");
    }
}

#[test]
fn the_most_specific_host_comes_first_whatever_the_path() {
    let snapshot = snapshot(vec![
        route("any", &["*"], vec![exact("/a"), prefix("/b")]),
        route("wide", &["*.example.com"], vec![exact("/a")]),
        route("narrow", &["*.eu.example.com"], vec![prefix("/a")]),
        route(
            "exact",
            &["www.eu.example.com", "example.com"],
            vec![prefix("/")],
        ),
    ]);
    for (host, path, rule) in [
        ("www.eu.example.com", "/a", Some("exact0")),
        ("WWW.EU.example.com.", "/a", Some("exact0")),
        ("api.eu.example.com", "/a", Some("narrow0")),
        ("a.b.eu.example.com", "/a/x", Some("narrow0")),
        ("eu.example.com", "/a", Some("wide0")),
        ("example.com", "/zzz", Some("exact0")),
        ("example.org", "/a", Some("any0")),
        // A more specific host without a rule for the path does not hide the others.
        ("api.eu.example.com", "/b", Some("any1")),
        ("api.eu.example.com", "/c", None),
        ("", "/a", Some("any0")),
        ("[::1]", "/a", Some("any0")),
    ] {
        assert_eq!(get(&snapshot, host, path), rule, "{host} {path}");
    }
}

#[test]
fn method_then_headers_then_query_decide_between_equal_paths() {
    let with = |method: &str, fields: &[(&str, &str)], query: &[(&str, &str)]| v1::Match {
        method: method.into(),
        headers: values(fields),
        query: values(query),
        ..prefix("/")
    };
    let snapshot = snapshot(vec![route(
        "r",
        &["*"],
        vec![
            with("", &[], &[]),
            with("", &[], &[("q", "1")]),
            with("", &[], &[("q", "1"), ("p", "2")]),
            with("", &[("X-One", "1")], &[]),
            with("", &[("x-one", "1"), ("x-two", "2")], &[]),
            with("POST", &[], &[]),
            with("POST", &[("x-one", "1")], &[]),
        ],
    )]);
    let one = &[("x-one", "1")][..];
    let two = &[("x-one", "1"), ("x-two", "2")][..];
    for (method, target, fields, rule) in [
        (Method::GET, "/", &[][..], "r0"),
        (Method::GET, "/?q=2", &[], "r0"),
        (Method::GET, "/?q=1", &[], "r1"),
        (Method::GET, "/?p=2&q=1", &[], "r2"),
        (Method::GET, "/?p=2&q=1", one, "r3"),
        (Method::GET, "/", &[("x-one", "2")], "r0"),
        (Method::GET, "/", &[("x-one", "1"), ("x-one", "1")], "r0"),
        (Method::GET, "/?q=1", two, "r4"),
        (Method::POST, "/?p=2&q=1", &[], "r5"),
        (Method::POST, "/", two, "r6"),
        (Method::PUT, "/", two, "r4"),
    ] {
        assert_eq!(
            found(&snapshot, "x", method.clone(), target, fields),
            Some(rule),
            "{method} {target} {fields:?}"
        );
    }
}

#[test]
fn the_older_route_then_the_lesser_id_then_the_earlier_rule_decides() {
    let at = |id: &str, created_at_seconds| v1::Route {
        created_at_seconds,
        ..route(id, &["*"], vec![prefix("/a"), prefix("/a")])
    };
    assert_eq!(
        get(&snapshot(vec![at("b", 2), at("a", 3)]), "x", "/a"),
        Some("b0")
    );
    assert_eq!(
        get(&snapshot(vec![at("b", 2), at("a", 2)]), "x", "/a"),
        Some("a0")
    );
    assert_eq!(
        get(
            &snapshot(vec![at("a", 2), at("b", 2), at("c", 1)]),
            "x",
            "/a"
        ),
        Some("c0")
    );
}

#[test]
fn of_two_conditions_on_one_name_the_first_holds() {
    let twice = v1::Match {
        headers: values(&[("X-One", "1"), ("x-one", "2")]),
        query: values(&[("q", "1"), ("q", "2")]),
        ..prefix("/")
    };
    let snapshot = snapshot(vec![route("r", &["*"], vec![twice])]);
    let find = |target, value| found(&snapshot, "x", Method::GET, target, &[("x-one", value)]);
    assert_eq!(find("/?q=1", "1"), Some("r0"));
    assert_eq!(find("/?q=2", "1"), None);
    assert_eq!(find("/?q=1", "2"), None);
}

#[test]
fn any_match_of_a_rule_suffices_and_none_is_everything() {
    let mut either = route("r", &["*"], vec![]);
    either.rules = vec![v1::Rule {
        name: "either".into(),
        matches: vec![exact("/a"), prefix("/b")],
        ..Default::default()
    }];
    let either = snapshot(vec![either]);
    assert_eq!(get(&either, "x", "/a"), Some("either"));
    assert_eq!(get(&either, "x", "/b/c"), Some("either"));
    assert_eq!(get(&either, "x", "/c"), None);

    let mut every = route("r", &["*"], vec![]);
    every.rules = vec![v1::Rule {
        name: "every".into(),
        ..Default::default()
    }];
    assert_eq!(
        get(&snapshot(vec![every]), "x", "/any/thing"),
        Some("every")
    );
}

#[test]
fn paths_of_rules_have_the_form_of_paths_of_requests() {
    let snapshot = snapshot(vec![route(
        "r",
        &["*"],
        vec![exact("/%61//b/../c"), prefix("/caf%c3%a9/"), prefix("//")],
    )]);
    assert_eq!(get(&snapshot, "x", "/a/c"), Some("r0"));
    assert_eq!(get(&snapshot, "x", "/caf%C3%A9"), Some("r1"));
    assert_eq!(get(&snapshot, "x", "/other"), Some("r2"));
}

#[test]
fn a_route_serves_only_the_listeners_that_it_is_attached_to() {
    let snapshot = snapshot(vec![route("r", &["*"], vec![prefix("/")])]);
    let other = snapshot
        .listeners()
        .find(|listener| &*listener.id != LISTENER);
    let other = &other.expect("another listener").routes;
    assert!(
        other
            .find("x", &Method::GET, "/", None, &HeaderMap::new())
            .is_none()
    );
    assert_eq!(get(&snapshot, "x", "/"), Some("r0"));
}

#[test]
fn the_matched_prefix_is_told_without_its_slash() {
    let snapshot = snapshot(vec![route(
        "r",
        &["*"],
        vec![prefix("/"), prefix("/a/b/"), exact("/c")],
    )]);
    let listener = snapshot
        .listeners()
        .find(|listener| &*listener.id == LISTENER);
    let routes = &listener.expect("the listener").routes;
    let none = HeaderMap::new();
    for (path, prefix) in [("/x", Some("/")), ("/a/b/c", Some("/a/b")), ("/c", None)] {
        let found = routes
            .find("x", &Method::GET, path, None, &none)
            .expect("a rule");
        assert_eq!(found.matched_prefix, prefix, "{path}");
    }
}

/// The work of a lookup is bounded by the configuration, not by what a client sends.
#[test]
fn paths_and_hosts_of_many_parts_do_not_cost_their_square() {
    let snapshot = snapshot(vec![route("r", &["*.example.com"], vec![prefix("/a/b")])]);
    let path = "/a".repeat(500_000);
    let host = "a.".repeat(500_000) + "example.com";
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(get(&snapshot, "www.example.com", &path), None);
        assert_eq!(get(&snapshot, &host, "/a/b"), None);
    }
    // With the square it would take hours.
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
}
