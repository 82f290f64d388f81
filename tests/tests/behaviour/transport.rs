//! QUIC's transport settings, as a QUICPolicy makes them.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use serde_json::{Value, json};
use tidegate_tests::{
    Download, Faults, Folder, Forge, Gateway, H3, Payload, Relay, Upstream, eventually, heavy,
    http, https, within,
};

/// Names of one port's listeners. Tests' own first flights ask for the second.
const ONE: &str = "one.site.test";
const TWO: &str = "site.test";

/// A policy with these transport settings, for a Gateway or one of its listeners.
fn policy(folder: &Folder, name: &str, section: Option<&str>, spec: &Value) {
    let mut target =
        json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"});
    if let Some(section) = section {
        target["sectionName"] = section.into();
    }
    let mut spec = spec.clone();
    spec["targetRefs"] = json!([target]);
    folder.object(
        &format!("policy-{name}"),
        &json!({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "QUICPolicy",
            "metadata": {"name": name, "namespace": "default"},
            "spec": spec,
        }),
    );
}

fn app(folder: &Folder, upstream: &Upstream) {
    folder.service("app", &[upstream.address]);
    folder.route(
        "app",
        &[],
        &json!([{"backendRefs": [{"name": "app", "port": 80}]}]),
    );
}

/// A gateway with these transport settings, and a client over a path with these faults.
async fn over(faults: Faults, transport: &Value) -> (Upstream, Gateway, Relay, H3) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .shards(1)
        .start_with(|folder| {
            app(folder, &upstream);
            policy(folder, "edge", None, &json!({"transport": transport}));
        })
        .await;
    let relay = Relay::with(gateway.https, faults).await;
    let client = H3::connect(&gateway.target().at(relay.address)).await;
    (upstream, gateway, relay, client)
}

async fn download(client: &H3, length: u64) {
    let request = client.request("GET", &format!("/bytes/{length}"));
    let transfer = client.exchange(request, Payload::of(0).stream());
    let (_, download, _) = within("the download", transfer)
        .await
        .expect("it comes whole");
    let sha256 = Payload::of(length).sha256();
    assert_eq!(download, Download { length, sha256 });
}

/// Waits until the gateway sends datagrams of such a size.
async fn mtu(gateway: &Gateway, relay: &Relay, client: &H3, wanted: impl Fn(u64) -> bool) {
    eventually("the path's MTU is found", || async {
        client.get("/").await;
        let now = *relay.sources().last()?;
        let connection = gateway.admin().connection_from(now).await;
        let mtu = connection["stats"]["pmtu"].as_u64()?;
        wanted(mtu).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_grow_to_what_the_path_carries() {
    for (path, expected) in [(None, 1_452..=1_452), (Some(1_400), 1_390..=1_400)] {
        let faults = Faults {
            mtu: path,
            ..Faults::default()
        };
        let discovery = json!({"pathMTUDiscovery": true});
        let (_upstream, gateway, relay, client) = over(faults, &discovery).await;
        download(&client, 1024 * 1024).await;
        mtu(&gateway, &relay, &client, |mtu| {
            expected.contains(&(mtu as usize))
        })
        .await;
        download(&client, 1024 * 1024).await;
        let samples = gateway.dataplane_samples();
        let changed = samples.sum("tidegate_quic_paths_mtu_changed_total", &[]);
        assert!(changed > Some(0.0), "{changed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_discovered_is_given_up_when_it_vanishes() {
    let discovery = json!({"pathMTUDiscovery": true});
    let (_upstream, gateway, relay, client) = over(Faults::default(), &discovery).await;
    mtu(&gateway, &relay, &client, |mtu| mtu == 1_452).await;
    relay.narrow(1_300);
    download(&client, 256 * 1024).await;
    mtu(&gateway, &relay, &client, |mtu| mtu <= 1_300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_discovered_does_not_count_on_another_path() {
    let discovery = json!({"pathMTUDiscovery": true});
    let (_upstream, gateway, relay, client) = over(Faults::default(), &discovery).await;
    mtu(&gateway, &relay, &client, |mtu| mtu == 1_452).await;
    relay.narrow(1_200);
    tokio::join!(relay.rebind(), client.get("/"));
    mtu(&gateway, &relay, &client, |mtu| mtu == 1_200).await;
    download(&client, 256 * 1024).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_is_too_narrow_for_the_usual_datagrams_gets_smaller_ones() {
    let narrow = Faults {
        mtu: Some(1_300),
        ..Faults::default()
    };
    let (_upstream, gateway, relay, client) = over(narrow, &json!({})).await;
    download(&client, 256 * 1024).await;
    mtu(&gateway, &relay, &client, |mtu| mtu == 1_200).await;
}

const ROUND_TRIP: Duration = Duration::from_millis(200);
const LENGTH: u64 = 500 * 1024;

/// Downloads over a path with a long round trip. Says in what part of its time datagrams
/// came, in slices of a twentieth of the round trip.
async fn spread(transport: &Value) -> f64 {
    let faults = Faults {
        delay: ROUND_TRIP,
        ..Faults::default()
    };
    let (_upstream, gateway, relay, _) = over(faults, transport).await;
    // So little is under way that no socket between loses any of it.
    let mut window = quinn::TransportConfig::default();
    window.stream_receive_window(quinn::VarInt::from_u32(96 * 1024));
    let client = H3::connect_with(&gateway.target().at(relay.address), window)
        .await
        .expect("the gateway answers");
    client.get("/").await;
    let before = relay.arrivals().len();
    download(&client, LENGTH).await;
    let arrivals = relay.arrivals().split_off(before);
    let slice = |at: &Instant| (*at - arrivals[0]).as_millis() / (ROUND_TRIP.as_millis() / 20);
    let mut slices: Vec<u128> = arrivals.iter().map(slice).collect();
    let all = slices.last().expect("datagrams came") + 1;
    slices.dedup();
    slices.len() as f64 / all as f64
}

/// A gateway whose HTTPS port has two names, each with a policy.
async fn two_names(upstream: &Upstream, first: &Value, second: &Value) -> Gateway {
    let gateway = Gateway::builder()
        .shards(1)
        .hostname(ONE)
        .start(upstream)
        .await;
    let port = gateway.https.port();
    policy(&gateway.folder, "one", Some("https"), first);
    policy(&gateway.folder, "two", Some("two"), second);
    gateway.folder.gateway(&json!([
        https("https", port, Some(ONE)),
        https("two", port, Some(TWO)),
        http(gateway.http.port()),
    ]));
    gateway
}

/// Waits until the gateway has the settings that it is to have.
async fn settled(gateway: &Gateway, name: &str, streams: usize) -> H3 {
    let target = gateway.target().named(name);
    eventually("the policies are in force", || async {
        let probe = H3::try_connect(&target).await.ok()?;
        (open(&probe) == streams).then_some(())
    })
    .await;
    H3::connect(&target).await
}

/// How many streams a new connection may open at once.
fn open(client: &H3) -> usize {
    let next = || client.connection.open_bi().now_or_never();
    let streams = std::iter::from_fn(next).take(1_000);
    // Held until all are open.
    streams.collect::<Vec<_>>().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_on_one_port_have_settings_of_their_own() {
    let upstream = Upstream::start().await;
    let gateway = two_names(
        &upstream,
        &json!({"transport": {"idleTimeout": "2s", "maxConcurrentStreams": 5, "congestionControl": "BBR2"}}),
        &json!({"transport": {"idleTimeout": "1h", "maxConcurrentStreams": 9, "congestionControl": "Reno"}}),
    )
    .await;
    let one = settled(&gateway, ONE, 5).await;
    let two = settled(&gateway, TWO, 9).await;
    let mut ids = Vec::new();
    for (client, algorithm) in [(&one, "bbr2"), (&two, "reno")] {
        client.get("/").await;
        let connection = gateway
            .admin()
            .connection_from(client.local_address())
            .await;
        assert_eq!(connection["stats"]["congestion_control"], algorithm);
        ids.push(connection["id"].as_str().expect("a string").to_owned());
    }
    // Its own wish is a minute, the gateway's is shorter.
    let ended = within("an idle connection ends", one.closed()).await;
    assert_eq!(ended, quinn::ConnectionError::TimedOut);
    let record = gateway.admin().audited(&ids[0]).await;
    assert_eq!(record["audit"]["closed_by"], "idle_timeout");
    assert_eq!(two.get("/").await.status, 200);
}

#[tokio::test]
async fn what_clients_are_told_is_their_names_own() {
    let upstream = Upstream::start().await;
    let gateway = two_names(
        &upstream,
        &json!({"transport": {"datagrams": true, "maxConcurrentStreams": 5, "initialMaxStreamData": 20_000}}),
        &json!({"transport": {"datagrams": false, "maxConcurrentStreams": 9, "initialMaxStreamData": 60_000}}),
    )
    .await;
    for (name, streams, datagrams, window) in [(ONE, 5, true, 20_000), (TWO, 9, false, 60_000)] {
        let client = settled(&gateway, name, streams).await;
        let offered = client.connection.max_datagram_size().is_some();
        assert_eq!(offered, datagrams, "{name}");
        // On this one thread quinn hears of no further window until it has its turn.
        let (mut sending, _receiving) = within("a stream", client.connection.open_bi())
            .await
            .expect("it is open");
        let mut sent = 0;
        while let Some(wrote) = sending.write(&[0; 1_000]).now_or_never() {
            sent += wrote.expect("nobody resets it");
        }
        assert!(sent <= window && sent > window / 2, "{name}: {sent}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_has_the_time_that_its_name_gives_it() {
    let upstream = Upstream::start().await;
    let gateway = two_names(
        &upstream,
        &json!({"transport": {"handshakeTimeout": "1m", "maxConcurrentStreams": 5}}),
        &json!({"transport": {"handshakeTimeout": "500ms", "maxConcurrentStreams": 9}}),
    )
    .await;
    settled(&gateway, TWO, 9).await;
    let stranger = gateway.stranger(&Forge::new(7).whole_first_flight()).await;
    let address = stranger.local_addr().expect("it is bound");
    let id = gateway.admin().id_from(address).await;
    let record = gateway.admin().audited(&id).await;
    assert_eq!(
        record["audit"]["closed_by"], "handshake_timeout",
        "{record}"
    );
    assert_eq!(record["handshake"]["timeout_ms"], 500, "{record}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_says_that_retry_is_anothers_on_the_port() {
    let upstream = Upstream::start().await;
    let gateway = two_names(
        &upstream,
        &json!({"retry": "Always", "transport": {"maxConcurrentStreams": 5}}),
        &json!({"retry": "Never", "transport": {"maxConcurrentStreams": 9}}),
    )
    .await;
    for (name, streams) in [(ONE, 5), (TWO, 9)] {
        let client = settled(&gateway, name, streams).await;
        client.get("/").await;
        let connection = gateway
            .admin()
            .connection_from(client.local_address())
            .await;
        assert_eq!(connection["handshake"]["retry"], true, "{connection}");
    }
    let status = gateway.admin().read("/v1/status").await.to_string();
    assert!(
        status.contains("a Retry is sent before it is known"),
        "{status}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_is_spread_over_the_round_trip() {
    let _alone = heavy().await;
    for algorithm in ["Cubic", "BBR2", "Reno"] {
        let paced = spread(&json!({"congestionControl": algorithm})).await;
        let burst = spread(&json!({"congestionControl": algorithm, "pacing": false})).await;
        assert!(
            paced > 2.0 * burst,
            "{algorithm}: {paced} paced, {burst} not"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_rate_is_kept() {
    let rate = 1_000_000;
    for algorithm in ["Cubic", "BBR2"] {
        let transport = json!({"congestionControl": algorithm, "maxPacingRate": rate});
        let (_upstream, _gateway, _relay, client) = over(Faults::default(), &transport).await;
        let begun = Instant::now();
        download(&client, 2 * rate).await;
        let took = begun.elapsed();
        // Two seconds, but for what leaves at once.
        assert!(took > Duration::from_millis(1_800), "{algorithm}: {took:?}");
    }
}
