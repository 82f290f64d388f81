//! What happens to a connection's paths is in its record, with how it came out.

use std::time::Duration;

use serde_json::Value;
use tidegate_tests::{Gateway, H3, Relay, Tap, Upstream, eventually};

/// Kind and client's address of each event.
fn events(record: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    record["audit"]["path_events"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| (text(&event["kind"]), text(&event["peer"])))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_is_seen_validated_and_followed() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let relay = Relay::to(gateway.https).await;
    let client = H3::connect_alive(&gateway.target().at(relay.address), SPEAKS).await;
    client.get("/").await;
    let first = relay.sources()[0];
    let id = gateway.admin().id_from(first).await;
    relay.rebind().await;
    let second = relay.sources()[1].to_string();
    eventually("the connection's address is the new one", || async {
        client.get("/").await;
        (gateway.admin().connection(&id).await["peer_address"] == second.as_str()).then_some(())
    })
    .await;
    // They are there while it lives.
    let live = gateway.admin().connection(&id).await;
    assert!(
        events(&live).contains(&("peer_migrated".into(), second.clone())),
        "{live}"
    );
    drop(client);
    let record = gateway.admin().audited(&id).await;
    let of = |address: &str| -> Vec<String> {
        let all = events(&record).into_iter();
        all.filter(|(_, peer)| peer == address)
            .map(|(kind, _)| kind)
            .collect()
    };
    assert_eq!(
        of(&second),
        ["new", "connection_id_reused", "validated", "peer_migrated"],
        "{record}"
    );
    let moved = record["audit"]["path_events"]
        .as_array()
        .and_then(|all| all.iter().find(|event| event["kind"] == "peer_migrated"))
        .expect("it moved");
    assert_eq!(moved["before"], first.to_string());
    assert_eq!(moved["local"], gateway.https.to_string());
    assert_eq!(record["audit"]["path_events_omitted"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_address_is_shown_as_such_and_never_as_the_clients() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let tap = Tap::to(gateway.https, Duration::ZERO).await;
    let client = H3::connect_alive(&gateway.target().at(tap.address), SPEAKS).await;
    client.get("/").await;
    let id = gateway.admin().id_from(tap.source).await;
    // An observer sends a packet of the client's on from elsewhere, before the client can.
    tap.divert(1);
    let stranger = tap.stranger.to_string();
    let failed = ("validation_failed".to_owned(), stranger.clone());
    let live = eventually("the forged address is given up", || async {
        assert_eq!(client.get("/").await.status, 200);
        let live = gateway.admin().connection(&id).await;
        assert_eq!(live["peer_address"], tap.source.to_string());
        events(&live).contains(&failed).then_some(live)
    })
    .await;
    let mut seen = events(&live);
    seen.retain(|(_, peer)| *peer == stranger);
    let kinds: Vec<&str> = seen.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["new", "connection_id_reused", "validation_failed"],
        "{live}"
    );
    assert_eq!(client.get("/bytes/100000").await.body.len(), 100_000);
    drop(client);
    let record = gateway.admin().audited(&id).await;
    assert_eq!(record["audit"]["path_changes"], Value::Array(vec![]));
    assert_eq!(record["peer_address"], tap.source.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_before_an_answer_leaves_the_path_unresolved() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    // Probes take their time here.
    let tap = Tap::to(gateway.https, Duration::from_millis(150)).await;
    let client = H3::connect(&gateway.target().at(tap.address)).await;
    client.get("/").await;
    let id = gateway.admin().id_from(tap.source).await;
    tap.divert(1);
    let stranger = tap.stranger.to_string();
    let request = tokio::spawn(async move {
        client.get("/").await;
        client
    });
    eventually("the other address is seen", || async {
        let live = gateway.admin().connection(&id).await;
        events(&live)
            .contains(&("new".into(), stranger.clone()))
            .then_some(())
    })
    .await;
    let close = tidegate_tests::Close {
        send_application_close: true,
        error_code: 0x100,
        reason: "enough",
    };
    assert_eq!(gateway.admin().close(&id, close).await.0, 200);
    let record = gateway.admin().audited(&id).await;
    assert!(
        events(&record).contains(&("unresolved".into(), stranger)),
        "{record}"
    );
    request.abort();
}

/// Like a browser, the client says something this often.
const SPEAKS: Duration = Duration::from_millis(100);
