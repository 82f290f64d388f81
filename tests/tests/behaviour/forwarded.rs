//! What the upstream is told of the client is what the gateway saw, never what a client says.

use tidegate_tests::{Answer, Gateway, Tcp, Upstream, Wire};

/// Headers by which a client might pose as another.
const LIES: [(&str, &str); 8] = [
    ("x-forwarded-for", "203.0.113.66"),
    ("x-forwarded-for", "203.0.113.66, 203.0.113.67"),
    ("x-forwarded-proto", "gopher-203.0.113.66"),
    ("x-forwarded-host", "203.0.113.66.test"),
    ("x-forwarded-port", "20301"),
    ("x-forwarded-server", "203.0.113.66"),
    ("x-real-ip", "203.0.113.66"),
    (
        "forwarded",
        "for=203.0.113.66;proto=gopher;host=203.0.113.66.test",
    ),
];

#[track_caller]
fn tells_the_truth(answer: &Answer, scheme: &str, host: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let over = answer.version;
    assert_eq!(
        answer.upstream_header("x-forwarded-for"),
        ["127.0.0.1"],
        "{over:?}"
    );
    assert_eq!(
        answer.upstream_header("x-forwarded-proto"),
        [scheme],
        "{over:?}"
    );
    assert_eq!(
        answer.upstream_header("x-forwarded-host"),
        [host],
        "{over:?}"
    );
    let headers = answer.json()["headers"].to_string();
    assert!(
        !headers.contains("203.0.113") && !headers.contains("gopher"),
        "{over:?}: {headers}"
    );
    assert!(
        !answer
            .upstream_header("x-forwarded-port")
            .contains(&"20301".to_owned()),
        "{over:?}: {headers}"
    );
    let forwarded = answer
        .upstream_header("forwarded")
        .join(",")
        .to_ascii_lowercase();
    assert!(
        forwarded.is_empty() || forwarded.contains("127.0.0.1"),
        "{over:?}: {forwarded}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_cannot_pose_as_another() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let host = format!("site.test:{}", gateway.https.port());
    tells_the_truth(
        &gateway.h3().await.get_with("/", &LIES).await,
        "https",
        &host,
    );
    tells_the_truth(
        &gateway.h2().await.get_with("/", &LIES).await,
        "https",
        &host,
    );
    tells_the_truth(
        &gateway.h1().await.get_with("/", &LIES).await,
        "https",
        &host,
    );
    let host = format!("site.test:{}", gateway.http.port());
    let answer = Tcp::connect(&gateway.cleartext(), Wire::H1)
        .await
        .get_with("/", &LIES)
        .await;
    tells_the_truth(&answer, "http", &host);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn naming_a_header_in_connection_does_not_remove_what_the_gateway_adds() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let tricks = [
        (
            "connection",
            "x-forwarded-for, x-forwarded-proto, x-secret, close",
        ),
        ("x-secret", "1"),
    ];
    let answer = gateway.h1().await.get_with("/", &tricks).await;
    assert_eq!(answer.upstream_header("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(answer.upstream_header("x-forwarded-proto"), ["https"]);
    assert!(
        answer.upstream_header("x-secret").is_empty(),
        "it was hop by hop"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upstream_gets_the_host_that_the_client_asked_for() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let host = format!("site.test:{}", gateway.https.port());
    gateway.h3().await.get("/three").await;
    gateway.h2().await.get("/two").await;
    gateway.h1().await.get("/one").await;
    for path in ["/three", "/two", "/one"] {
        assert_eq!(upstream.seen_at(path).remove(0).authority, host, "{path}");
    }
}
