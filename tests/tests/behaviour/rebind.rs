//! A client's address changes under a transfer, and packets land on another shard.

use std::{net::SocketAddr, time::Duration};

use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tidegate_tests::{Download, Faults, Gateway, H3, Payload, Relay, Upstream, eventually, heavy};

const REBINDINGS: u64 = 20;
const LENGTH: u64 = 40 * 1024 * 1024;

/// Rebinds again and again, each time after more of the transfer has passed.
async fn rebind_under(passed: impl Fn() -> u64, relay: &Relay) {
    for turn in 1..=REBINDINGS {
        let goal = LENGTH / (REBINDINGS + 2) * turn;
        eventually("the transfer goes on", || async {
            (passed() >= goal).then_some(())
        })
        .await;
        relay.rebind().await;
    }
}

async fn start(relay_faults: Faults) -> (Upstream, Gateway, Relay, H3) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().shards(2).start(&upstream).await;
    let relay = Relay::with(gateway.https, relay_faults).await;
    let client = H3::connect_alive(
        &gateway.target().at(relay.address),
        Duration::from_millis(200),
    )
    .await;
    (upstream, gateway, relay, client)
}

/// Every change of address, in order, from the audit record.
async fn path_changes(gateway: &Gateway, client: H3, id: &str) -> Vec<(String, String)> {
    drop(client);
    let record = gateway.admin().audited(id).await;
    let changes = record["audit"]["path_changes"]
        .as_array()
        .expect("a list")
        .clone();
    let times: Vec<u64> = changes
        .iter()
        .filter_map(|change| change["at_ms"].as_u64())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    changes
        .iter()
        .map(|change| (text(&change["from"]), text(&change["to"])))
        .collect()
}

#[track_caller]
fn follow(changes: &[(String, String)], sources: &[SocketAddr]) {
    let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
    let expected: Vec<(String, String)> = sources
        .windows(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect();
    assert_eq!(changes, expected);
}

async fn id_of(gateway: &Gateway, relay: &Relay) -> String {
    gateway.admin().id_from(relay.sources()[0]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_survives_twenty_rebindings() {
    let _alone = heavy().await;
    let (_upstream, gateway, relay, client) = start(Faults::default()).await;
    client.get("/").await;
    let id = id_of(&gateway, &relay).await;
    let request = client.request("GET", &format!("/bytes/{LENGTH}"));
    let transfer = client.exchange(request, Payload::of(0).stream());
    let (answer, ()) = tokio::join!(transfer, rebind_under(|| relay.bytes_down(), &relay));
    let (_, download, _) = answer.expect("it comes whole");
    assert_eq!(
        download,
        Download {
            length: LENGTH,
            sha256: Payload::of(LENGTH).sha256()
        }
    );
    let sources = relay.sources();
    assert_eq!(sources.len() as u64, REBINDINGS + 1);
    let samples = gateway.dataplane_samples();
    let handed_over = samples.sum("tidegate_quic_datagrams_handed_over_total", &[]);
    assert!(handed_over > Some(0.0), "some landed on another shard");
    follow(&path_changes(&gateway, client, &id).await, &sources);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_survives_twenty_rebindings() {
    let _alone = heavy().await;
    let (upstream, gateway, relay, client) = start(Faults::default()).await;
    client.get("/").await;
    let id = id_of(&gateway, &relay).await;
    let transfer = client.exchange(
        client.request("POST", "/upload"),
        Payload::of(LENGTH).stream(),
    );
    let (answer, ()) = tokio::join!(transfer, rebind_under(|| relay.bytes_up(), &relay));
    answer.expect("it goes whole");
    let body = upstream
        .seen_at("/upload")
        .remove(0)
        .body
        .expect("the upstream read it");
    assert_eq!(
        (body.length, body.sha256),
        (LENGTH, Payload::of(LENGTH).sha256())
    );
    follow(&path_changes(&gateway, client, &id).await, &relay.sources());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_connection_shows_where_its_client_is_now() {
    let (_upstream, gateway, relay, client) = start(Faults::default()).await;
    client.get("/").await;
    let id = id_of(&gateway, &relay).await;
    for _ in 0..5 {
        relay_and_ask(&relay, &client).await;
        let now = relay.sources().pop().expect("there is one");
        shows(&gateway, &client, &id, now).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_may_not_migrate_is_followed_where_its_network_moves_it() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let transport = json!({"migration": false, "maxConcurrentStreams": 7});
    gateway.folder.quic_policy(&json!({"transport": transport}));
    let relay = Relay::to(gateway.https).await;
    eventually("the policy is in force", || async {
        let client = gateway.h3().await;
        let open = || client.connection.open_bi().now_or_never();
        let streams: Vec<_> = std::iter::from_fn(open).take(100).collect();
        (streams.len() == 7).then_some(())
    })
    .await;
    let client = H3::connect(&gateway.target().at(relay.address)).await;
    client.get("/").await;
    let id = id_of(&gateway, &relay).await;
    for _ in 0..3 {
        relay_and_ask(&relay, &client).await;
        let now = relay.sources().pop().expect("there is one");
        shows(&gateway, &client, &id, now).await;
    }
}

/// Waits until the gateway shows the client at its new address.
async fn shows(gateway: &Gateway, client: &H3, id: &str, now: SocketAddr) {
    let now = now.to_string();
    eventually("the connection's address is the new one", || async {
        client.get("/").await;
        (gateway.admin().connection(id).await["peer_address"] == now.as_str()).then_some(())
    })
    .await;
}

async fn relay_and_ask(relay: &Relay, client: &H3) {
    let (answer, ()) = tokio::join!(client.get("/"), relay.rebind());
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_may_move_to_another_port_by_itself() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let before = client.local_address();
    let id = gateway.admin().id_from(before).await;
    for _ in 0..5 {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback binds");
        client
            .endpoint
            .rebind(socket)
            .expect("the runtime takes it");
        assert_eq!(client.get("/bytes/50000").await.body.len(), 50_000);
        shows(&gateway, &client, &id, client.local_address()).await;
    }
}

/// What a network moves keeps its connection ID; who moves by itself takes another one, and
/// retires those before. Nothing may be sent any more that goes by them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_may_move_by_itself_after_its_network_has_moved_it() {
    let (_upstream, gateway, relay, client) = start(Faults::default()).await;
    client.get("/").await;
    let id = id_of(&gateway, &relay).await;
    for turn in 0..4 {
        let goal = relay.sources().len() + 1;
        if turn % 2 == 0 {
            relay.rebind().await;
        } else {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback binds");
            let rebound = client.endpoint.rebind(socket);
            rebound.expect("the runtime takes it");
        }
        eventually("the connection's address is the new one", || async {
            assert_eq!(client.get("/bytes/300000").await.body.len(), 300_000);
            let sources = relay.sources();
            let now = sources.last().expect("there is one").to_string();
            let shown = gateway.admin().connection(&id).await["peer_address"] == now.as_str();
            (shown && sources.len() >= goal).then_some(())
        })
        .await;
    }
    assert_eq!(client.connection.close_reason(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_survive_loss_reordering_and_repetition() {
    let _alone = heavy().await;
    let faults = Faults {
        loss: 0.02,
        repeat: 0.02,
        reorder: 0.02,
        seed: 11,
        ..Faults::default()
    };
    let (upstream, _gateway, _relay, client) = start(faults).await;
    let length = 4 * 1024 * 1024;
    let whole: Vec<u8> = Payload::of(length).pieces().flatten().collect();
    let body = futures_util::stream::iter(
        whole
            .chunks(5000)
            .map(|piece| piece.to_vec().into())
            .collect::<Vec<_>>(),
    );
    let (_, download, _) = client
        .exchange(client.request("POST", "/mirror"), body.boxed())
        .await
        .expect("it passes both ways");
    assert_eq!(
        download,
        Download {
            length,
            sha256: Payload::of(length).sha256()
        }
    );
    drop(upstream);
}
