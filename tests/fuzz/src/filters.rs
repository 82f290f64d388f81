//! Filters on requests: whatever they are told, what they make of a path is canonical, and
//! what they answer is a response.

use arbitrary::{Result, Unstructured};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use prost::Message as _;
use tidegate_dataplane::{
    filter,
    path::canonical,
    snapshot::{Scheme, Snapshot},
};
use tidegate_proto::v1;

use crate::{path::is_canonical, planes};

const LISTENER: &str = "default/edge/http";

pub(super) fn run(data: &[u8]) {
    let _too_short = check(Unstructured::new(data));
}

fn check(mut input: Unstructured<'_>) -> Result<()> {
    let target = text(&mut input)?;
    let origin = text(&mut input)?;
    let prefix = text(&mut input)?;
    let method = input
        .choose(&[Method::GET, Method::OPTIONS, Method::POST])?
        .clone();
    // Two fields of the message `Rule` are enough: its filters, and its backends'.
    let Ok(rule) = v1::Rule::decode(input.take_rest()) else {
        return Ok(());
    };
    let Ok(snapshot) = Snapshot::try_from(snapshot(prefix, rule)) else {
        return Ok(());
    };
    let Ok(uri) = target.parse::<Uri>() else {
        return Ok(());
    };
    let (Ok(path), query) = (canonical(uri.path()), uri.query()) else {
        return Ok(());
    };
    let mut headers = HeaderMap::new();
    if let Ok(origin) = HeaderValue::try_from(origin) {
        headers.insert(header::ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_REQUEST_METHOD, origin);
    }
    let listener = snapshot.listeners().next().expect("there is one");
    let Some(found) = listener
        .routes
        .find("a.example", &method, &path, query, &headers)
    else {
        return Ok(());
    };
    if let Some(cors) = filter::cors(&found.rule.filters) {
        let verdict = cors.judge(&method, &headers);
        let mut answer = HeaderMap::new();
        verdict.apply(&mut answer);
        let allowed = answer.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        // Nobody is let in but who asked, or everybody.
        assert!(allowed.is_none_or(|it| it == "*" || Some(it) == headers.get(header::ORIGIN)));
        if let Some(answer) = verdict.answer() {
            assert!(answer.status().is_success());
        }
    }
    let whole = query.map_or(path.to_string(), |query| format!("{path}?{query}"));
    let request = Request::builder().method(method).uri(whole).body(());
    let (mut parts, ()) = request.expect("the path is canonical").into_parts();
    let context = filter::Context {
        scheme: Scheme::Https,
        host: "a.example",
        port: 443,
        matched_prefix: found.matched_prefix,
    };
    match filter::request(&found.rule.filters, &mut parts, &context) {
        Some(answer) => {
            assert!(answer.status().is_redirection() || answer.status().is_client_error());
            let location = answer.headers().get(header::LOCATION);
            assert_eq!(location.is_some(), answer.status().is_redirection());
        }
        None => {
            is_canonical(parts.uri.path());
            assert_eq!(parts.uri.query(), query);
        }
    }
    let mut fields = HeaderMap::new();
    filter::response(&found.rule.filters, &mut fields);
    Ok(())
}

/// The filters of a rule that can be served.
pub(super) fn of(rule: v1::Rule) -> Option<Vec<filter::Filter>> {
    let snapshot = Snapshot::try_from(snapshot("/", rule)).ok()?;
    let listener = snapshot.listeners().next()?;
    let fields = HeaderMap::new();
    let routes = &listener.routes;
    let found = routes.find("a.example", &Method::GET, "/", None, &fields)?;
    Some(found.rule.filters.clone())
}

fn snapshot(prefix: &str, rule: v1::Rule) -> v1::Snapshot {
    let path = v1::path_match::Kind::Prefix(prefix.to_owned());
    let rule = v1::Rule {
        matches: vec![v1::Match {
            path: Some(v1::PathMatch { kind: Some(path) }),
            ..Default::default()
        }],
        backends: Vec::new(),
        ..rule
    };
    v1::Snapshot {
        version: "1".into(),
        listeners: vec![v1::Listener {
            id: LISTENER.into(),
            port: 80,
            protocol: v1::Protocol::Http.into(),
            ..Default::default()
        }],
        routes: vec![v1::Route {
            id: "HTTPRoute/default/fuzz".into(),
            attachments: vec![v1::Attachment {
                listener_id: LISTENER.into(),
                hostnames: vec!["*".into()],
            }],
            rules: vec![rule],
            ..Default::default()
        }],
        keys: Some(planes::keys()),
        ..Default::default()
    }
}

fn text<'a>(input: &mut Unstructured<'a>) -> Result<&'a str> {
    let len = input.int_in_range(0..=64_usize)?;
    std::str::from_utf8(input.bytes(len)?).map_err(|_| arbitrary::Error::IncorrectFormat)
}
