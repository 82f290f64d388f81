use serde_norway::Value;

use super::{
    super::{document, schema},
    MOST,
};
use crate::source::Effect;

/// An object of a kind with a `spec`; an EndpointSlice has its fields beside its metadata.
fn manifest(kind: &str, spec: &str) -> String {
    let version = match kind {
        "Service" => "v1",
        "EndpointSlice" => "discovery.k8s.io/v1",
        _ => "gateway.networking.k8s.io/v1",
    };
    let head = format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: one}}\n");
    match kind {
        "EndpointSlice" => {
            let mut value: Value = serde_norway::from_str(&head).expect("a mapping");
            let fields: Value = serde_norway::from_str(spec).expect("a mapping");
            let whole = value.as_mapping_mut().expect("a mapping");
            whole.extend(fields.as_mapping().expect("a mapping").clone());
            serde_norway::to_string(&value).expect("plain data")
        }
        _ => format!("{head}spec: {spec}\n"),
    }
}

#[test]
fn what_an_api_server_would_refuse_is_refused_at_its_field() {
    let rows: Vec<_> = include_str!("testdata/refused.txt").lines().collect();
    assert!(rows.len() >= 100, "{}", rows.len());
    for row in rows {
        let (object, field) = row.split_once(" => ").expect("an object and a field");
        let (kind, spec) = object.split_once(": ").expect("a kind and its spec");
        let text = format!(
            "{}---\n{}",
            manifest("Service", "{}"),
            manifest(kind, spec).replace("name: one", "name: two")
        );
        let Err(problems) = document::read("shop.yaml", &text, schema::check) else {
            panic!("accepted: {row}");
        };
        let problem = problems
            .iter()
            .find(|problem| problem.field == field)
            .unwrap_or_else(|| panic!("{row}: {problems:?}"));
        assert_eq!(problems.len(), 1, "{row}: {problems:?}");
        assert_eq!(
            (problem.file.as_str(), problem.document, problem.effect),
            ("shop.yaml", 2, Effect::FileRefused),
            "{row}"
        );
        assert!(problem.object.starts_with(kind), "{row}: {problem}");
        assert!(
            !problem.message.is_empty() && !problem.remedy.is_empty(),
            "{row}: {problem}"
        );
    }
}

#[test]
fn what_a_status_tells_is_let_pass() {
    for row in include_str!("testdata/accepted.txt").lines() {
        let (kind, spec) = row.split_once(": ").expect("a kind and its spec");
        let read = document::read("shop.yaml", &manifest(kind, spec), schema::check);
        assert_eq!(read.err(), None, "{row}");
    }
}

#[test]
fn a_refused_word_comes_with_those_that_may_be() {
    let spec = "{rules: [{matches: [{path: {type: PathPrefx, value: /a}}]}]}";
    let refused = document::read("a", &manifest("HTTPRoute", spec), schema::check);
    let problems = refused.err().expect("refused");
    assert!(problems[0].message.contains("PathPrefx"), "{problems:?}");
    assert_eq!(
        problems[0].remedy,
        "write one of Exact, PathPrefix, RegularExpression"
    );
}

#[test]
fn every_bad_value_of_an_object_is_named_up_to_a_limit() {
    let spec = |count: usize| {
        let hostnames = vec!["A"; count].join(", ");
        format!("{{hostnames: [{hostnames}], rules: [{{name: B}}]}}")
    };
    for (hostnames, named) in [(2, 3), (100, MOST)] {
        let text = manifest("HTTPRoute", &spec(hostnames));
        let refused = document::read("a", &text, schema::check);
        assert_eq!(refused.err().map(|problems| problems.len()), Some(named));
    }
}

#[test]
fn values_are_shown_on_one_line_and_cut() {
    let long = format!("{{hostnames: [\"a\\n{}\"]}}", "B".repeat(200));
    let refused = document::read("a", &manifest("HTTPRoute", &long), schema::check);
    let message = &refused.err().expect("refused")[0].message;
    assert!(message.len() < 120 && !message.contains('\n'), "{message}");
}
