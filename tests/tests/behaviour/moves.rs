//! Clients that move early, often, or to where nobody was before.

use std::{net::SocketAddr, time::Duration};

use tidegate_tests::{Faults, Gateway, H3, Link, Relay, Tap, Upstream, eventually, within};
use tokio::time::sleep;

/// Resolves when the connection is known to be at that address.
async fn arrival(gateway: &Gateway, client: &H3, id: &str, address: SocketAddr) {
    let address = address.to_string();
    let arrival = eventually("the connection's address is the new one", || async {
        assert_eq!(client.get("/").await.status, 200);
        (gateway.admin().connection(id).await["peer_address"] == address.as_str()).then_some(())
    });
    within("the client's arrival", arrival).await;
}

/// Each move takes a connection ID of those that are just on their way, and gives back the
/// one before, while the gateway does not know yet what of them has arrived.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_may_move_twice_within_its_first_round_trips() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let link = Link {
        delay: Duration::from_millis(25),
        ..Link::default()
    };
    // Between the moves: from no time to more than two round trips.
    let pauses = (0..12).map(|turn| Duration::from_millis(10 * turn));
    let moving = pauses.map(|pause| {
        let gateway = &gateway;
        async move {
            // What is late may be taken to be lost.
            let faults = Faults {
                loss: 0.02,
                reorder: 0.2,
                seed: pause.as_millis() as u64,
                ..Faults::default()
            };
            let relay = Relay::over(gateway.https, faults, link).await;
            let client = H3::connect_alive(&gateway.target().at(relay.address), SPEAKS).await;
            for _ in 0..2 {
                let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback binds");
                let rebound = client.endpoint.rebind(socket);
                rebound.expect("the runtime takes it");
                sleep(pause).await;
            }
            let answer = within("an answer after two moves", client.get("/bytes/50000")).await;
            assert_eq!(answer.body.len(), 50_000, "{pause:?} between the moves");
            let now = relay.sources().pop().expect("there is one");
            let id = gateway.admin().id_from(now).await;
            arrival(gateway, &client, &id, now).await;
        }
    });
    futures_util::future::join_all(moving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_may_move_to_where_nobody_was_found() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let tap = Tap::to(gateway.https, Duration::ZERO).await;
    let client = H3::connect_alive(&gateway.target().at(tap.address), SPEAKS).await;
    client.get("/").await;
    let id = gateway.admin().id_from(tap.source).await;
    let stranger = tap.stranger.to_string();
    let events = || async {
        let live = gateway.admin().connection(&id).await;
        let all = live["audit"]["path_events"].as_array().cloned();
        let mut all = all.expect("a list");
        all.retain(|event| event["peer"] == stranger.as_str());
        let kinds = all.iter().filter_map(|event| event["kind"].as_str());
        kinds.map(str::to_owned).collect::<Vec<_>>()
    };
    tap.divert(1);
    eventually("the address is given up", || async {
        client.get("/").await;
        let failed = events().await.last().map(String::as_str) == Some("validation_failed");
        failed.then_some(())
    })
    .await;
    tap.move_in();
    arrival(&gateway, &client, &id, tap.stranger).await;
    assert_eq!(client.get("/bytes/300000").await.body.len(), 300_000);
    assert_eq!(
        events().await,
        [
            "new",
            "connection_id_reused",
            "validation_failed",
            "new",
            "validated",
            "peer_migrated"
        ]
    );
}

/// More often than there are connection IDs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_may_move_any_number_of_times() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().shards(2).start(&upstream).await;
    let relay = Relay::to(gateway.https).await;
    let client = H3::connect_alive(&gateway.target().at(relay.address), SPEAKS).await;
    client.get("/").await;
    let id = gateway.admin().id_from(relay.sources()[0]).await;
    for turn in 1..=150 {
        let under_way = async { tokio::join!(client.get("/bytes/20000"), relay.rebind()) };
        let (answer, ()) = within("an answer while it moves", under_way).await;
        assert_eq!(answer.body.len(), 20_000, "move {turn}");
        arrival(&gateway, &client, &id, relay.sources()[turn]).await;
    }
    assert_eq!(client.connection.close_reason(), None);
}

/// Like a browser, the client says something this often.
const SPEAKS: Duration = Duration::from_millis(100);
