use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::{
    harness::{ApiServer, PATIENCE},
    resources::{ObjectKey, Resources},
    telemetry::Telemetry,
};

const GATEWAYS: &str = "/apis/gateway.networking.k8s.io/v1/gateways";
const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/httproutes";
const GRPC_ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/grpcroutes";
const SECRETS: &str = "/api/v1/secrets";
/// A cluster without GRPCRoutes, ListenerSets and Tidegate's own kinds, and with
/// ReferenceGrants of an older version.
const STANDARD: [&str; 10] = [
    "/apis/gateway.networking.k8s.io/v1/gatewayclasses",
    GATEWAYS,
    ROUTES,
    "/apis/gateway.networking.k8s.io/v1beta1/referencegrants",
    "/api/v1/services",
    "/apis/discovery.k8s.io/v1/endpointslices",
    SECRETS,
    "/api/v1/configmaps",
    "/api/v1/namespaces",
    "/apis/gateway.networking.k8s.io/v1/backendtlspolicies",
];

struct Source {
    watched: Watched,
    _telemetry: Telemetry,
}

impl Source {
    fn of(server: &ApiServer, namespaces: &[&str]) -> Self {
        let telemetry = Telemetry::new(None).unwrap();
        let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
        let settings = Settings { namespaces };
        Self {
            watched: watch(server.client(), settings, telemetry.instruments()),
            _telemetry: telemetry,
        }
    }

    /// The first published input of which `holds` is true.
    async fn until(&mut self, holds: impl Fn(&Sourced) -> bool) -> Arc<Sourced> {
        let found = self
            .watched
            .sourced
            .wait_for(|now| now.as_ref().is_some_and(|now| holds(now)));
        let found = timeout(PATIENCE, found).await.expect("in time").unwrap();
        found.clone().unwrap()
    }
}

fn object(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "web", "generation": 1}, "spec": spec})
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("web", name)
}

fn has(resources: &Resources, kind: &str, name: &str) -> bool {
    resources.keys(kind).contains(&key(name))
}

#[tokio::test]
async fn an_object_that_does_not_decode_and_a_kind_that_is_not_there_stop_nothing() {
    let server = ApiServer::new(&STANDARD);
    server.put(ROUTES, object("good", json!({"hostnames": ["a.example"]})));
    server.put(ROUTES, object("odd", json!({"hostnames": "a.example"})));
    let grants = "/apis/gateway.networking.k8s.io/v1beta1/referencegrants";
    server.put(grants, object("grant", json!({"from": [], "to": []})));
    let mut source = Source::of(&server, &[]);
    let first = source.until(|_| true).await;
    assert!(has(&first.resources, "HTTPRoute", "good"));
    assert!(!has(&first.resources, "HTTPRoute", "odd"));
    assert!(has(&first.resources, "ReferenceGrant", "grant"));
    let [problem] = first.problems.as_slice() else {
        panic!("{:?}", first.problems)
    };
    assert_eq!(
        (&problem.object[..], &problem.field[..]),
        ("HTTPRoute web/odd", "spec.hostnames")
    );

    // Corrected, and the kind installed later.
    server.put(ROUTES, object("odd", json!({"hostnames": ["b.example"]})));
    let corrected = source.until(|now| now.problems.is_empty()).await;
    assert!(has(&corrected.resources, "HTTPRoute", "odd"));
    server.install(GRPC_ROUTES);
    server.put(GRPC_ROUTES, object("late", json!({})));
    source
        .until(|now| has(&now.resources, "GRPCRoute", "late"))
        .await;
    server.delete(ROUTES, "web", "odd");
    source
        .until(|now| !has(&now.resources, "HTTPRoute", "odd"))
        .await;
}

#[tokio::test]
async fn nothing_is_published_before_everything_was_listed() {
    let server = ApiServer::new(&STANDARD);
    server.put(ROUTES, object("good", json!({})));
    server.set_down(true);
    let mut source = Source::of(&server, &[]);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(source.watched.sourced.borrow().is_none());
    server.set_down(false);
    let first = source.until(|_| true).await;
    assert!(has(&first.resources, "HTTPRoute", "good"));
}

#[tokio::test]
async fn secrets_are_read_where_something_refers_to_them_alone() {
    let server = ApiServer::new(&STANDARD);
    let secret = |name: &str, text: &str| json!({"metadata": {"name": name, "namespace": "web"}, "type": "Opaque", "data": {"x": text}});
    for name in ["site", "unused"] {
        server.put(SECRETS, secret(name, "AAAA"));
    }
    let listener = json!({
        "name": "a", "port": 443, "protocol": "HTTPS",
        "tls": {"certificateRefs": [{"name": "site"}, {"name": "missing"}]},
    });
    let gateway = object(
        "gate",
        json!({"gatewayClassName": "c", "listeners": [listener]}),
    );
    server.put(GATEWAYS, gateway);
    let mut source = Source::of(&server, &[]);
    let first = source.until(|_| true).await;
    assert_eq!(
        first.resources.keys("Secret"),
        [key("site")],
        "with the first of all"
    );
    let asked = server.requests();
    assert!(
        !asked
            .iter()
            .any(|request| request.ends_with("/secrets/unused")),
        "{asked:?}"
    );

    server.put(SECRETS, secret("missing", "BBBB"));
    source
        .until(|now| has(&now.resources, "Secret", "missing"))
        .await;
    server.put(SECRETS, secret("site", "CCCC"));
    source
        .until(|now| {
            let site = now.resources.secrets.get(&key("site"));
            site.and_then(|site| site.object.data.as_ref()?.get("x")?.0.first().copied())
                == Some(0x08)
        })
        .await;
    server.delete(SECRETS, "web", "missing");
    source
        .until(|now| !has(&now.resources, "Secret", "missing"))
        .await;
    server.delete(GATEWAYS, "web", "gate");
    source
        .until(|now| now.resources.keys("Secret").is_empty())
        .await;
}

#[tokio::test]
async fn a_status_is_no_news_for_translation_but_for_who_writes_it() {
    let server = ApiServer::new(&STANDARD);
    let mut route = object("r", json!({}));
    server.put(ROUTES, route.clone());
    let mut source = Source::of(&server, &[]);
    source.until(|_| true).await;
    source.watched.sourced.borrow_and_update();
    let mut seen = source.watched.statuses.changes();
    seen.borrow_and_update();
    route["status"] = json!({"parents": []});
    server.put(ROUTES, route);
    timeout(PATIENCE, seen.changed())
        .await
        .expect("in time")
        .unwrap();
    let place = ("HTTPRoute", key("r"));
    let status = source
        .watched
        .statuses
        .with(|all| all[&place].status.clone());
    assert_eq!(status, json!({"parents": []}));
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    assert!(!source.watched.sourced.has_changed().unwrap());
}

#[tokio::test]
async fn only_the_namespaces_that_are_named_are_read() {
    let server = ApiServer::new(&STANDARD);
    server.put(ROUTES, object("ours", json!({})));
    let mut other = object("theirs", json!({}));
    other["metadata"]["namespace"] = "other".into();
    server.put(ROUTES, other);
    let mut source = Source::of(&server, &["web"]);
    let first = source.until(|_| true).await;
    assert_eq!(first.resources.keys("HTTPRoute"), [key("ours")]);
}
