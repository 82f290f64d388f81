mod listeners;
mod routes;
mod secrets;

use std::time::Duration;

use http::{HeaderMap, Method};

use super::{fixture::*, *};

/// Object and field of each rejection, in the order of the objects.
fn refused(wire: v1::Snapshot) -> Vec<(String, String)> {
    rejections(wire)
        .into_iter()
        .map(|found| (found.object, found.field))
        .collect()
}

fn rejections(wire: v1::Snapshot) -> Vec<v1::Rejection> {
    Snapshot::try_from(wire).expect_err("a bad snapshot")
}

/// The only rejection: its object, field and a part of its message.
#[track_caller]
fn assert_refused(wire: v1::Snapshot, object: &str, field: &str, message: &str) {
    match &rejections(wire)[..] {
        [only] => {
            assert_eq!((&*only.object, &*only.field), (object, field), "{only:?}");
            assert!(only.message.contains(message), "{only:?}");
        }
        more => panic!("more than one: {more:?}"),
    }
}

const HTTPS: &str = "default/edge/https";
const HTTP: &str = "default/edge/http";
const ROUTE: &str = "HTTPRoute/default/shop";
const SITE: &str = "default/site";

#[test]
fn a_good_snapshot_is_taken_with_its_defaults() {
    let snapshot = Snapshot::try_from(snapshot()).expect("a good snapshot");
    assert_eq!(snapshot.version, "1");
    let key = |port| BindingKey {
        addresses: Vec::new(),
        port,
    };
    let binding = snapshot.binding(&key(8443)).expect("a binding");
    assert_eq!(binding.scheme, Scheme::Https);
    assert_eq!(
        snapshot.binding(&key(8080)).expect("a binding").scheme,
        Scheme::Http
    );
    assert!(snapshot.binding(&key(1)).is_none());

    let listener = binding.listener_for("anything").expect("a listener");
    assert_eq!(&*listener.id, HTTPS);
    assert_eq!(*listener.quic, QuicTransport::default());
    assert_eq!(listener.limits, HttpLimits::default());
    assert_eq!(listener.admission, Admission::default());
    assert_eq!(listener.certificates[0].id, SITE);
    let http3 = binding.http3().expect("HTTP/3");
    assert_eq!(http3.advertised_port, 8443);
    assert_eq!(http3.alt_svc, "h3=\":8443\"; ma=86400");

    let backend = snapshot.backend("default/shop:80").expect("a backend");
    assert_eq!(backend.connect_timeout, Duration::from_secs(5));
    assert_eq!(backend.protocol, BackendProtocol::Auto);
    assert!(backend.tls.is_none() && snapshot.backend("other").is_none());

    let found = listener
        .routes
        .find("x", &Method::GET, "/", None, &HeaderMap::new());
    let found = found.expect("a rule");
    assert_eq!(&*found.route.id, ROUTE);
    let used = found.rule.backends[0]
        .backend
        .as_ref()
        .expect("it resolves");
    assert!(Arc::ptr_eq(used, backend));
}

#[test]
fn every_problem_is_named_with_object_and_field_and_a_remedy() {
    let mut wire = snapshot();
    wire.version.clear();
    wire.keys = Some(v1::Keys {
        cid: Vec::new(),
        ..keys()
    });
    wire.certificates[0].chain_pem = "none".into();
    wire.backends[0].protocol = 9;
    wire.listeners[0].port = 65_536;
    wire.listeners[0]
        .certificate_ids
        .push("default/gone".into());
    wire.listeners[1].admission = Some(v1::Admission {
        allow: vec!["10.0.0.1/8".into(), "x".into()],
        ..Default::default()
    });
    wire.routes[0].attachments[0].hostnames = vec!["a b".into()];
    wire.routes[0].rules[0].backends[0].weight = 1_000_001;
    let found = rejections(wire);
    let named: Vec<_> = found
        .iter()
        .map(|found| (&*found.object, &*found.field))
        .collect();
    assert_eq!(
        named,
        [
            ("snapshot", "version"),
            ("keys", "cid"),
            (SITE, "chain_pem"),
            ("default/shop:80", "protocol"),
            (ROUTE, "rules[0].backends[0].weight"),
            (ROUTE, "attachments[0].hostnames[0]"),
            (HTTPS, "port"),
            (HTTPS, "certificate_ids[1]"),
            (HTTP, "admission.allow[0]"),
            (HTTP, "admission.allow[1]"),
        ],
        "{found:#?}"
    );
    assert!(
        found.iter().all(|found| found.message.len() > 20),
        "{found:#?}"
    );
}

#[test]
fn ids_are_there_once() {
    let mut wire = snapshot();
    wire.listeners.push(http(HTTP, 81, ""));
    wire.certificates.push(wire.certificates[0].clone());
    wire.routes.push(wire.routes[0].clone());
    wire.backends.push(wire.backends[0].clone());
    let objects = [SITE, "default/shop:80", ROUTE, HTTP];
    assert_eq!(
        refused(wire),
        objects.map(|object| (object.to_owned(), "id".to_owned()))
    );

    let mut wire = snapshot();
    wire.listeners.push(http("", 81, ""));
    wire.certificates.push(certificate("", "x"));
    wire.routes.push(route("", HTTP, Vec::new()));
    wire.backends.push(v1::Backend::default());
    assert_eq!(refused(wire), vec![(String::new(), "id".to_owned()); 4]);
}

#[test]
fn endpoints_of_backends_that_are_gone_are_dropped() {
    let endpoint = v1::Endpoint {
        address: "127.0.0.1".into(),
        port: 80,
    };
    let of = |id: &str| v1::Endpoints {
        backend_id: id.into(),
        endpoints: vec![endpoint.clone()],
    };
    let endpoints = Endpoints::default()
        .with(of("default/shop:80"))
        .with(of("gone"));
    let snapshot = Snapshot::try_from(snapshot()).expect("a good snapshot");
    let retained = endpoints.retained(&snapshot);
    assert_eq!(retained.of("default/shop:80").len(), 1);
    assert!(retained.of("gone").is_empty() && endpoints.of("gone").len() == 1);
}

#[test]
fn an_empty_snapshot_with_keys_serves_nothing() {
    let wire = v1::Snapshot {
        version: "1".into(),
        keys: Some(keys()),
        ..Default::default()
    };
    assert!(
        Snapshot::try_from(wire)
            .expect("a good snapshot")
            .bindings
            .is_empty()
    );
}
