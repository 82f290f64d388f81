//! A request reaches the upstream and its answer the client, over every protocol.

use http::Version;
use tidegate_tests::{Answer, Gateway, H3, Tcp, Upstream, Wire};

#[track_caller]
fn came_through(answer: &Answer, version: Version) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.version, version);
    let seen = answer.json();
    assert_eq!(
        (&seen["method"], &seen["target"]),
        (&"GET".into(), &"/hello?name=you%20two".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http3() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let answer = gateway.h3().await.get("/hello?name=you%20two").await;
    came_through(&answer, Version::HTTP_3);
    assert!(
        !answer.headers.contains_key("alt-svc"),
        "the client is there already: {answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_with_the_way_to_http3() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    for (wire, version) in [(Wire::H2, Version::HTTP_2), (Wire::H1, Version::HTTP_11)] {
        let answer = Tcp::connect(&gateway.target(), wire)
            .await
            .get("/hello?name=you%20two")
            .await;
        came_through(&answer, version);
        let advertised = format!("h3=\":{}\"", gateway.https.port());
        assert!(
            answer.header("alt-svc").starts_with(&advertised),
            "{wire:?}: {answer:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_cleartext() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    for (wire, version) in [(Wire::H2, Version::HTTP_2), (Wire::H1, Version::HTTP_11)] {
        let answer = Tcp::connect(&gateway.cleartext(), wire)
            .await
            .get("/hello?name=you%20two")
            .await;
        came_through(&answer, version);
        assert!(
            !answer.headers.contains_key("alt-svc"),
            "no certificate, no HTTP/3: {answer:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alt_svc_names_a_port_where_http3_answers() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let answer = gateway.h2().await.get("/").await;
    let port = answer
        .header("alt-svc")
        .split('"')
        .nth(1)
        .and_then(|authority| authority.strip_prefix(':'));
    let port: u16 = port
        .and_then(|port| port.parse().ok())
        .expect("Alt-Svc names a port");
    let mut address = gateway.https;
    address.set_port(port);
    let answer = H3::connect(&gateway.target().at(address))
        .await
        .get("/")
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alt_svc_names_the_port_that_clients_see() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .tls_option("tidegate.dev/advertised-port", "443")
        .start(&upstream)
        .await;
    let answer = gateway.h2().await.get("/").await;
    assert!(
        answer.header("alt-svc").starts_with("h3=\":443\""),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_advertised_where_http3_is_off() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .tls_option("tidegate.dev/http3", "off")
        .start(&upstream)
        .await;
    let answer = gateway.h2().await.get("/").await;
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains_key("alt-svc"), "{answer:?}");
    let port = std::net::UdpSocket::bind(gateway.https);
    assert!(port.is_ok(), "nobody has the UDP port");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_the_upstream_are_used_again() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().shards(1).start(&upstream).await;
    let client = gateway.h3().await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.status, 200);
    }
    // A connection that is not yet back when the next request comes may get company.
    assert!(
        upstream.connections() <= 10,
        "{} for 20 requests",
        upstream.connections()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_and_bodies_arrive_as_they_were() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let answer = client
            .send(client.request(method, "/"), "four".into())
            .await
            .expect("it is answered");
        let seen = answer.json();
        assert_eq!(
            (&seen["method"], &seen["length"]),
            (&method.into(), &4.into())
        );
    }
    let answer = client
        .send(client.request("HEAD", "/bytes/5000"), "".into())
        .await
        .expect("it is answered");
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.header("content-length"),
            answer.body.len()
        ),
        (200, "5000", 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_connection_tells_its_facts() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/bytes/300000").await;
    let facts = gateway
        .admin()
        .connection_from(client.local_address())
        .await;
    assert_eq!(facts["transport"], "quic");
    assert_eq!(facts["listener_id"], "default/edge/https");
    assert_eq!(facts["local_address"], gateway.https.to_string());
    assert_eq!(facts["stage"], "running");
    assert_eq!(facts["requests"], 1);
    assert_eq!(facts["requests_active"], 0);
    assert_eq!(facts["tls"]["server_name"], "site.test");
    assert_eq!(facts["tls"]["alpn"], "h3");
    assert_eq!(facts["tls"]["version"], "TLSv1.3");
    assert_eq!(facts["tls"]["resumed"], false);
    assert_eq!(facts["tls"]["early_data"], false);
    assert_ne!(facts["tls"]["cipher"], "");
    assert_ne!(facts["tls"]["group"], "");
    let number = |pointer: &str| {
        facts
            .pointer(pointer)
            .and_then(|value| value.as_u64())
            .unwrap_or_default()
    };
    assert!(number("/handshake/elapsed_us") > 0, "{facts}");
    assert!(
        number("/stats/rtt_us") > 0 && number("/stats/min_rtt_us") > 0,
        "{facts}"
    );
    assert!(
        number("/stats/cwnd") > 0 && number("/stats/pmtu") >= 1200,
        "{facts}"
    );
    assert!(number("/stats/bytes_sent") > 300_000, "{facts}");
    assert!(
        number("/stats/packets_sent") > 200 && number("/stats/packets_recvd") > 3,
        "{facts}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_connections_are_listed_too() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let (mut secure, mut clear) = (
        gateway.h2().await,
        Tcp::connect(&gateway.cleartext(), Wire::H1).await,
    );
    secure.get("/").await;
    clear.get("/").await;
    let facts = gateway
        .admin()
        .connection_from(secure.local_address())
        .await;
    assert_eq!(
        (&facts["transport"], &facts["tls"]["alpn"]),
        (&"tcp".into(), &"h2".into())
    );
    assert_eq!(facts["requests"], 1);
    let facts = gateway.admin().connection_from(clear.local_address()).await;
    assert_eq!(
        (&facts["transport"], &facts["listener_id"]),
        (&"tcp".into(), &"default/edge/http".into())
    );
}
