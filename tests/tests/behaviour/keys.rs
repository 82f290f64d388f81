//! The shared keys rotate: what was made before counts for a while, and then ends cleanly.

use std::sync::Arc;

use quinn::ConnectionError;
use serde_json::{Value, json};
use tidegate_tests::{Gateway, H3, Target, Upstream, eventually, within};

use crate::resume::RetryClient;

/// Rotates the keys, and waits until the dataplane has them.
async fn rotate(gateway: &Gateway) {
    let serving = async || {
        let fleet = gateway.admin().read("/v1/dataplanes").await;
        fleet["dataplanes"][0]["acked_version"].clone()
    };
    let before = serving().await;
    let (status, answer) = gateway.admin().post("/v1/keys/rotate", &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    eventually("the dataplane has the keys", || async {
        (serving().await != before).then_some(())
    })
    .await;
}

/// A client with tickets of its own.
fn client(gateway: &Gateway) -> Target {
    Target {
        tls: Some(gateway.authority.client(&["h3"])),
        ..gateway.target()
    }
}

async fn visit(gateway: &Gateway, target: &Target) -> Value {
    let client = H3::connect(target).await;
    assert_eq!(client.get("/").await.status, 200);
    let facts = gateway
        .admin()
        .connection_from(client.local_address())
        .await;
    client.connection.close(quinn::VarInt::from_u32(0x100), b"");
    client.endpoint.wait_idle().await;
    facts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_outlives_one_rotation_and_after_two_there_is_a_full_handshake() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let (one, other) = (client(&gateway), client(&gateway));
    for target in [&one, &other] {
        let facts = visit(&gateway, target).await;
        assert_eq!(facts["tls"]["resumed"], false, "{facts}");
    }
    rotate(&gateway).await;
    let facts = visit(&gateway, &one).await;
    assert_eq!(facts["tls"]["resumed"], true, "{facts}");
    rotate(&gateway).await;
    let facts = visit(&gateway, &other).await;
    assert_eq!(facts["tls"]["resumed"], false, "its key is gone: {facts}");
    let facts = visit(&gateway, &one).await;
    assert_eq!(facts["tls"]["resumed"], true, "it has a newer one: {facts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_token_outlives_one_rotation_and_after_two_there_is_another_retry() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .tls_option("tidegate.dev/retry", "always")
        .start(&upstream)
        .await;
    // A token counts for ten seconds, which a busy machine may take to rotate.
    let mut answered = false;
    for _ in 0..5 {
        let mut client = RetryClient::start(gateway.https).await;
        let second = client.second_initial().await;
        rotate(&gateway).await;
        client.send(&second).await;
        answered = client.is_answered().await;
        if answered {
            break;
        }
    }
    assert!(answered, "the token of before the rotation is good");

    let mut client = RetryClient::start(gateway.https).await;
    let second = client.second_initial().await;
    rotate(&gateway).await;
    rotate(&gateway).await;
    client.forget_received().await;
    client.send(&second).await;
    assert_eq!(client.received().await, quiche::Type::Retry);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_live_through_more_rotations_than_there_are_keys() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    assert_eq!(client.get("/").await.status, 200);
    let facts = gateway.admin().connection_from(client.local_address());
    let id = facts.await["id"].clone();
    for _ in 0..10 {
        rotate(&gateway).await;
        assert_eq!(client.get("/").await.status, 200);
    }
    let facts = gateway.admin().connection_from(client.local_address());
    assert_eq!(facts.await["id"], id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_lost_is_reset_after_rotations_too() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream).await;
    let mut transport = quinn::TransportConfig::default();
    transport.max_idle_timeout(None);
    let client = H3::connect_with(&gateway.target(), transport).await;
    let client = client.expect("the gateway answers");
    assert_eq!(client.get("/").await.status, 200);
    gateway.kill_dataplane();
    // Nobody has told the client of newer connection IDs than those of the first key.
    for _ in 0..5 {
        let (status, _) = gateway.admin().post("/v1/keys/rotate", &json!({})).await;
        assert_eq!(status, 200);
    }
    gateway.start_dataplane().await;
    let client = Arc::new(client);
    let asking = client.clone();
    let asking =
        tokio::spawn(async move { asking.send(asking.request("GET", "/"), "".into()).await });
    let reason = within("it is reset", client.closed()).await;
    assert!(matches!(reason, ConnectionError::Reset), "{reason:?}");
    within("the request has ended", asking)
        .await
        .expect("no panic")
        .expect_err("its connection is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_known_to_the_dataplane_before_it_is_used() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let kinds = ["ticket", "retry", "reset", "cid", "relay"];
    let ids = async || {
        let config = gateway.admin().read("/v1/config").await;
        let keys = config["snapshot"]["keys"].clone();
        kinds.map(|kind| {
            let ids = keys[kind].as_array().cloned().unwrap_or_default();
            ids.into_iter()
                .map(|key| key["id"].clone())
                .collect::<Vec<_>>()
        })
    };
    let mut before = ids().await;
    for _ in 0..3 {
        rotate(&gateway).await;
        let after = ids().await;
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(after[0], before[1], "the next one is in use");
            assert_eq!(after[2], before[0], "the one before is accepted");
            assert!(!before.contains(&after[1]), "another one is next");
        }
        before = after;
    }
}
