//! Where a request goes, and what answers when nothing can.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tidegate_tests::{Answer, Folder, Gateway, H3, RawUpstream, Reply, Tcp, Upstream, Wire, empty};

/// A gateway with these rules in one route, and services `red`, `blue`, `empty` (no
/// endpoints) and `dead` (nobody listens).
async fn with_rules(red: &Upstream, blue: &Upstream, rules: Value) -> Gateway {
    let fill = |folder: &Folder| {
        services(folder, red, blue);
        folder.route("rules", &[], &rules);
    };
    Gateway::builder().start_with(fill).await
}

fn services(folder: &Folder, red: &Upstream, blue: &Upstream) {
    folder.service("red", &[red.address]);
    folder.service("blue", &[blue.address]);
    folder.service("empty", &[]);
    folder.service("dead", &[nobody()]);
}

/// An address where connections are refused.
fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback binds");
    listener.local_addr().expect("it is bound")
}

fn backend(name: &str) -> Value {
    json!({"name": name, "port": 80})
}

fn rule(matches: Value, name: &str) -> Value {
    json!({"matches": [matches], "backendRefs": [backend(name)]})
}

async fn pair() -> (Upstream, Upstream) {
    (Upstream::named("red").await, Upstream::named("blue").await)
}

/// The same request over HTTP/3, HTTP/2, HTTP/1.1, and HTTP/1.1 in the clear.
async fn everywhere(gateway: &Gateway, path: &str) -> Vec<Answer> {
    vec![
        gateway.h3().await.get(path).await,
        gateway.h2().await.get(path).await,
        gateway.h1().await.get(path).await,
        Tcp::connect(&gateway.cleartext(), Wire::H1)
            .await
            .get(path)
            .await,
    ]
}

#[track_caller]
fn all_have(answers: &[Answer], status: u16) {
    for answer in answers {
        assert_eq!(
            answer.status, status,
            "over {:?}: {answer:?}",
            answer.version
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_match_by_element_exactly_or_by_expression() {
    let (red, blue) = pair().await;
    let rules = json!([
        rule(
            json!({"path": {"type": "PathPrefix", "value": "/shop"}}),
            "red"
        ),
        rule(
            json!({"path": {"type": "Exact", "value": "/shop/cart"}}),
            "blue"
        ),
        rule(
            json!({"path": {"type": "PathPrefix", "value": "/shop/special"}}),
            "blue"
        ),
        rule(
            json!({"path": {"type": "RegularExpression", "value": "/item/[0-9]+"}}),
            "blue"
        ),
    ]);
    let gateway = with_rules(&red, &blue, rules).await;
    let client = gateway.h3().await;
    for (path, upstream) in [
        ("/shop", "red"),
        ("/shop/", "red"),
        ("/shop/other?x=1", "red"),
        ("/shop/cart", "blue"),
        ("/shop/cart/more", "red"),
        ("/shop/special/offer", "blue"),
        ("/shop/specials", "red"),
        ("/item/77", "blue"),
    ] {
        let answer = client.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("x-upstream")),
            (200, upstream),
            "{path}"
        );
        assert_eq!(answer.json()["target"], path);
    }
    for path in ["/shopping", "/item/x", "/item/7/8", "/before/item/7", "/"] {
        all_have(&everywhere(&gateway, path).await, 404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_query_and_method_are_matched_by_precedence() {
    let (red, blue) = pair().await;
    let rules = json!([
        rule(json!({"path": {"value": "/"}}), "red"),
        rule(
            json!({"headers": [{"name": "X-Group", "value": "beta"}]}),
            "blue"
        ),
        rule(
            json!({"headers": [{"name": "x-agent", "type": "RegularExpression", "value": "bot-.*"}]}),
            "blue"
        ),
        rule(
            json!({"queryParams": [{"name": "try", "value": "new"}]}),
            "blue"
        ),
        rule(json!({"method": "DELETE"}), "blue"),
        rule(json!({"path": {"value": "/deep"}}), "red"),
    ]);
    let gateway = with_rules(&red, &blue, rules).await;
    let client = gateway.h3().await;
    let upstream = |answer: Answer| answer.header("x-upstream").to_owned();
    assert_eq!(upstream(client.get("/").await), "red");
    assert_eq!(
        upstream(client.get_with("/", &[("x-group", "beta")]).await),
        "blue"
    );
    assert_eq!(
        upstream(client.get_with("/", &[("x-group", "betamax")]).await),
        "red"
    );
    assert_eq!(
        upstream(client.get_with("/", &[("x-agent", "bot-7")]).await),
        "blue"
    );
    assert_eq!(
        upstream(client.get_with("/", &[("x-agent", "a bot-7")]).await),
        "red"
    );
    assert_eq!(upstream(client.get("/any?a=b&try=new").await), "blue");
    assert_eq!(upstream(client.get("/any?try=newer").await), "red");
    let delete = client
        .send(client.request("DELETE", "/any"), Bytes::new())
        .await
        .expect("it is answered");
    assert_eq!(upstream(delete), "blue");
    // A longer path weighs more than a header.
    assert_eq!(
        upstream(client.get_with("/deep/x", &[("x-group", "beta")]).await),
        "red"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_names_choose_the_route() {
    let (red, blue) = pair().await;
    let fill = |folder: &Folder| {
        services(folder, &red, &blue);
        folder.route(
            "exact",
            &["a.site.test"],
            &json!([{"backendRefs": [backend("red")]}]),
        );
        folder.route(
            "wildcard",
            &["*.site.test"],
            &json!([{"backendRefs": [backend("blue")]}]),
        );
    };
    let gateway = Gateway::builder().start_with(fill).await;
    for (host, upstream) in [("a.site.test", "red"), ("b.site.test", "blue")] {
        let target = gateway.target().named(host);
        let answer = H3::connect(&target).await.get("/").await;
        assert_eq!(answer.header("x-upstream"), upstream, "{host}");
        let answer = Tcp::connect(&target, Wire::H2).await.get("/").await;
        assert_eq!(answer.header("x-upstream"), upstream, "{host}");
    }
    let answer = H3::connect(&gateway.target()).await.get("/").await;
    assert_eq!(answer.status, 404, "no route has this name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_share_the_requests_out() {
    let (red, blue) = pair().await;
    let rules = json!([{"backendRefs": [
        {"name": "red", "port": 80, "weight": 80},
        {"name": "blue", "port": 80, "weight": 20},
        {"name": "dead", "port": 80, "weight": 0},
    ]}]);
    let gateway = with_rules(&red, &blue, rules).await;
    let client = gateway.h3().await;
    let total = 500;
    for _ in 0..total {
        assert_eq!(client.get("/status/204").await.status, 204);
    }
    let (red, blue) = (red.seen().len(), blue.seen().len());
    assert_eq!(red + blue, total);
    // Six standard deviations of a fair draw.
    assert!(
        (347..=453).contains(&red),
        "{red} of {total} for a weight of 80 %"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_are_composed_from_what_they_say_and_the_request() {
    let (red, blue) = pair().await;
    let redirect = |path: &str, redirect: Value| {
        json!({
            "matches": [{"path": {"value": path}}],
            "filters": [{"type": "RequestRedirect", "requestRedirect": redirect}],
        })
    };
    let rules = json!([
        redirect("/host", json!({"hostname": "other.test"})),
        redirect("/scheme", json!({"scheme": "http", "statusCode": 301})),
        redirect("/port", json!({"port": 8443})),
        redirect(
            "/full",
            json!({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/new"}})
        ),
        redirect(
            "/prefix",
            json!({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/p"}})
        ),
        redirect(
            "/all",
            json!({"scheme": "https", "hostname": "other.test", "port": 443, "statusCode": 308})
        ),
    ]);
    let gateway = with_rules(&red, &blue, rules).await;
    let own = gateway.https.port();
    let client = gateway.h3().await;
    for (path, status, location) in [
        (
            "/host/a?b=c",
            302,
            format!("https://other.test:{own}/host/a?b=c"),
        ),
        ("/scheme/a", 301, "http://site.test/scheme/a".to_owned()),
        ("/port", 302, "https://site.test:8443/port".to_owned()),
        (
            "/full/gone?q=1",
            302,
            format!("https://site.test:{own}/new?q=1"),
        ),
        (
            "/prefix/rest",
            302,
            format!("https://site.test:{own}/p/rest"),
        ),
        ("/all", 308, "https://other.test/all".to_owned()),
    ] {
        let answer = client.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location")),
            (status, location.as_str()),
            "{path}"
        );
    }
    assert!(red.seen().is_empty() && blue.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_are_set_added_and_removed_both_ways() {
    let (red, blue) = pair().await;
    let change = json!({
        "set": [{"name": "X-Set", "value": "new"}],
        "add": [{"name": "X-Add", "value": "second"}],
        "remove": ["X-Remove", "x-upstream"],
    });
    let rules = json!([{
        "filters": [
            {"type": "RequestHeaderModifier", "requestHeaderModifier": change},
            {"type": "ResponseHeaderModifier", "responseHeaderModifier": change},
        ],
        "backendRefs": [backend("red")],
    }]);
    let gateway = with_rules(&red, &blue, rules).await;
    let sent = [
        ("x-set", "old"),
        ("x-add", "first"),
        ("x-remove", "secret"),
        ("x-kept", "kept"),
    ];
    for answer in [
        gateway.h3().await.get_with("/", &sent).await,
        gateway.h2().await.get_with("/", &sent).await,
        gateway.h1().await.get_with("/", &sent).await,
    ] {
        assert_eq!(answer.upstream_header("x-set"), ["new"]);
        assert_eq!(answer.upstream_header("x-add").join(","), "first,second");
        assert!(answer.upstream_header("x-remove").is_empty());
        assert_eq!(answer.upstream_header("x-kept"), ["kept"]);
        assert_eq!(
            (
                answer.header("x-set"),
                answer.header("x-add"),
                answer.header("x-upstream")
            ),
            ("new", "second", "")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urls_are_rewritten_for_the_backend_alone() {
    let (red, blue) = pair().await;
    let rewrite = |path: &str, rewrite: Value| {
        json!({
            "matches": [{"path": {"value": path}}],
            "filters": [{"type": "URLRewrite", "urlRewrite": rewrite}],
            "backendRefs": [backend("red")],
        })
    };
    let rules = json!([
        rewrite(
            "/old",
            json!({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}})
        ),
        rewrite(
            "/strip",
            json!({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}})
        ),
        rewrite(
            "/fixed",
            json!({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/one"}})
        ),
        rewrite("/host", json!({"hostname": "inside.test"})),
    ]);
    let gateway = with_rules(&red, &blue, rules).await;
    let client = gateway.h3().await;
    for (path, target) in [
        ("/old/a?b=1", "/new/a?b=1"),
        ("/old", "/new"),
        ("/strip/a/b", "/a/b"),
        ("/strip", "/"),
        ("/fixed/whatever?q=2", "/one?q=2"),
    ] {
        assert_eq!(client.get(path).await.json()["target"], target, "{path}");
    }
    client.get("/host").await;
    assert_eq!(red.seen_at("/host").remove(0).authority, "inside.test");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_is_matched_in_the_form_that_the_backend_gets() {
    let (red, blue) = pair().await;
    let rules = json!([
        rule(json!({"path": {"value": "/"}}), "red"),
        rule(json!({"path": {"value": "/admin"}}), "blue"),
    ]);
    let gateway = with_rules(&red, &blue, rules).await;
    let client = gateway.h3().await;
    for path in ["/x/../admin/y", "/./admin", "/%61dmin/y", "/x/%2e%2e/admin"] {
        let answer = client.get(path).await;
        if answer.status == 200 {
            let seen = answer.json()["target"]
                .as_str()
                .expect("a string")
                .to_owned();
            let inside = seen == "/admin" || seen.starts_with("/admin/");
            assert_eq!(
                inside,
                answer.header("x-upstream") == "blue",
                "{path} became {seen}"
            );
            assert!(inside, "{path} means /admin, and the backend got {seen}");
        } else {
            assert_eq!(answer.status, 400, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_outs_answer_504_and_cancel_the_upstream() {
    let (red, blue) = pair().await;
    let timed = |path: &str, timeouts: Value| json!({"matches": [{"path": {"value": path}}], "timeouts": timeouts, "backendRefs": [backend("red")]});
    let rules = json!([
        timed("/never/request", json!({"request": "300ms"})),
        timed("/never/backend", json!({"backendRequest": "300ms"})),
        timed("/gate/off", json!({"request": "0s"})),
    ]);
    let gateway = with_rules(&red, &blue, rules).await;
    all_have(&everywhere(&gateway, "/never/request").await, 504);
    all_have(&everywhere(&gateway, "/never/backend").await, 504);
    tidegate_tests::eventually("the upstream hears of all", || async {
        (red.cancelled() == 8).then_some(())
    })
    .await;
    red.open("off");
    assert_eq!(gateway.h3().await.get("/gate/off").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_time_out_covers_the_body_too() {
    let (red, blue) = pair().await;
    let rules = json!([{"timeouts": {"request": "500ms"}, "backendRefs": [backend("red")]}]);
    let gateway = with_rules(&red, &blue, rules).await;
    let client = gateway.h3().await;
    assert!(
        client
            .send(client.request("GET", "/endless"), Bytes::new())
            .await
            .is_err(),
        "it never looks whole"
    );
    let mut client = gateway.h2().await;
    let response = client
        .begin(client.request("GET", "/endless", empty()))
        .await
        .expect("it is answered");
    assert!(response.into_body().collect().await.is_err());
    tidegate_tests::eventually("the upstream hears of it", || async {
        (red.cancelled() == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_served_is_told_apart() {
    let (red, blue) = pair().await;
    let rules = json!([
        rule(json!({"path": {"value": "/missing"}}), "nowhere"),
        rule(json!({"path": {"value": "/empty"}}), "empty"),
        rule(json!({"path": {"value": "/dead"}}), "dead"),
        {"matches": [{"path": {"value": "/none"}}]},
    ]);
    let gateway = with_rules(&red, &blue, rules).await;
    all_have(&everywhere(&gateway, "/missing").await, 500);
    all_have(&everywhere(&gateway, "/none").await, 500);
    all_have(&everywhere(&gateway, "/empty").await, 503);
    all_have(&everywhere(&gateway, "/elsewhere").await, 404);
    let dead = everywhere(&gateway, "/dead").await;
    assert!([502, 503].contains(&dead[0].status.as_u16()), "{dead:?}");
    all_have(&dead, dead[0].status.as_u16());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_dead_endpoint_of_two_costs_no_request() {
    let (red, blue) = pair().await;
    let fill = |folder: &Folder| {
        folder.service("app", &[nobody(), red.address]);
        folder.route("app", &[], &json!([{"backendRefs": [backend("app")]}]));
        let _ = &blue;
    };
    let gateway = Gateway::builder().start_with(fill).await;
    let client = gateway.h3().await;
    for turn in 0..20 {
        assert_eq!(client.get("/").await.status, 200, "request {turn}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_come_and_go_without_a_route_change() {
    let (red, blue) = pair().await;
    let gateway = with_rules(&red, &blue, json!([{"backendRefs": [backend("red")]}])).await;
    let client = gateway.h3().await;
    assert_eq!(client.get("/").await.header("x-upstream"), "red");
    gateway.folder.endpoints("red", &[blue.address]);
    tidegate_tests::eventually("requests go to the new endpoint", || async {
        (client.get("/").await.header("x-upstream") == "blue").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_are_reached_over_tls_when_a_policy_says_so() {
    let authority = tidegate_tests::Authority::new();
    let identity = authority.issue(&["inside.test"]);
    let (secure, plain) = (
        Upstream::tls("secure", &identity).await,
        Upstream::start().await,
    );
    let policy = |hostname: &str| {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "BackendTLSPolicy",
            "metadata": {"name": "app", "namespace": "default"},
            "spec": {
                "targetRefs": [{"group": "", "kind": "Service", "name": "app"}],
                "validation": {
                    "hostname": hostname,
                    "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "inside-ca"}],
                },
            },
        })
    };
    let fill = |folder: &Folder| {
        folder.service("app", &[secure.address]);
        folder.object(
            "ca",
            &json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "inside-ca", "namespace": "default"},
                "data": {"ca.crt": authority.pem()},
            }),
        );
        folder.object("policy", &policy("inside.test"));
        folder.route("app", &[], &json!([{"backendRefs": [backend("app")]}]));
        let _ = &plain;
    };
    let gateway = Gateway::builder().start_with(fill).await;
    let client = gateway.h3().await;
    assert_eq!(client.get("/").await.header("x-upstream"), "secure");

    // A certificate of another name is not believed.
    gateway
        .folder
        .object("policy", &policy("someone-else.test"));
    tidegate_tests::eventually("the upstream is refused", || async {
        [502, 503]
            .contains(&client.get("/").await.status.as_u16())
            .then_some(())
    })
    .await;
}

/// The limit is hyper's own, which parses without an allocation up to there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_of_more_than_a_hundred_fields_is_a_failure_of_its_upstream() {
    let upstream = RawUpstream::start(|head| {
        let fields = match head.split(' ').nth(1) {
            Some("/hundred") => 100,
            _ => 101,
        };
        let fields: String = (1..fields)
            .map(|index| format!("x-{index}: 1\r\n"))
            .collect();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{fields}\r\nok");
        Reply::Keep(head.into_bytes())
    });
    let upstream = upstream.await;
    let fill = |folder: &Folder| {
        folder.service("app", &[upstream.address]);
        folder.route("app", &[], &json!([{"backendRefs": [backend("app")]}]));
    };
    let gateway = Gateway::builder().start_with(fill).await;
    // Not over HTTP/1.1: the client has the same limit, and the gateway has added to them.
    let answers = [
        gateway.h3().await.get("/hundred").await,
        gateway.h2().await.get("/hundred").await,
    ];
    all_have(&answers, 200);
    assert!(answers.iter().all(|answer| answer.header("x-99") == "1"));
    let answers = everywhere(&gateway, "/more").await;
    all_have(&answers, 502);
    let errors = gateway.dataplane_metrics().await;
    let errors = errors.by("tidegate_upstream_errors_total", "error_type");
    assert_eq!(errors.get("protocol"), Some(&(answers.len() as f64)));
}
