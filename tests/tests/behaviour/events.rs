//! Handshakes and closes are told as they happen.

use tidegate_tests::{Close, Gateway, H3, Tcp, Upstream, Wire};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_hears_of_handshakes_and_closes() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut events = gateway.admin().events("").await;
    let client = gateway.h3().await;
    let established = events.of("established", client.local_address()).await;
    assert_eq!(
        (&established["tls"]["alpn"], &established["listener_id"]),
        (&"h3".into(), &"default/edge/https".into())
    );
    assert!(
        established["handshake"]["elapsed_us"].as_u64() > Some(0),
        "{established}"
    );

    let id = established["id"].as_str().expect("a string");
    let close = Close {
        send_application_close: true,
        error_code: 0x100,
        reason: "that is all",
    };
    assert_eq!(gateway.admin().close(id, close).await.0, 200);
    let closed = events.of("closed", client.local_address()).await;
    assert_eq!(closed["id"], id);
    assert_eq!(
        (
            &closed["audit"]["closed_by"],
            &closed["audit"]["connection_close_reason"]
        ),
        (&"command".into(), &"that is all".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_connections_are_told_too() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut events = gateway.admin().events("").await;
    let mut client = Tcp::connect(&gateway.target(), Wire::H2).await;
    client.get("/").await;
    let peer = client.local_address();
    assert_eq!(events.of("established", peer).await["transport"], "tcp");
    drop(client);
    assert_eq!(
        events.of("closed", peer).await["audit"]["closed_by"],
        "peer"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selection_narrows_what_is_told() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut events = gateway.admin().events("server_name=b.site.test").await;
    for name in ["a.site.test", "b.site.test"] {
        H3::connect(&gateway.target().named(name))
            .await
            .get("/")
            .await;
    }
    for kind in ["established", "closed"] {
        let (name, connection) = events.receive().await;
        assert_eq!(
            (name.as_str(), &connection["tls"]["server_name"]),
            (kind, &"b.site.test".into())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_subscriber_hears_of_everything() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let (mut one, mut two) = (
        gateway.admin().events("").await,
        gateway.admin().events("").await,
    );
    let client = gateway.h3().await;
    let peer = client.local_address();
    assert_eq!(
        one.of("established", peer).await["id"],
        two.of("established", peer).await["id"]
    );
}
