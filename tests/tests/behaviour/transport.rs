//! QUIC's transport settings, as a QUICPolicy makes them.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::{
    Download, Faults, Folder, Gateway, H3, Payload, Relay, Upstream, heavy, within,
};

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

const ROUND_TRIP: Duration = Duration::from_millis(200);
const LENGTH: u64 = 500 * 1024;

/// Downloads over a path with a long round trip. Says in what part of its time datagrams
/// came, in slices of a twentieth of the round trip.
async fn spread(transport: &Value) -> f64 {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .shards(1)
        .start_with(|folder| {
            app(folder, &upstream);
            policy(folder, "edge", None, &json!({"transport": transport}));
        })
        .await;
    let faults = Faults {
        delay: ROUND_TRIP,
        ..Faults::default()
    };
    let relay = Relay::with(gateway.https, faults).await;
    // So little is under way that no socket between loses any of it.
    let mut window = quinn::TransportConfig::default();
    window.stream_receive_window(quinn::VarInt::from_u32(96 * 1024));
    let client = H3::connect_with(&gateway.target().at(relay.address), window)
        .await
        .expect("the gateway answers");
    client.get("/").await;
    let before = relay.arrivals().len();
    let request = client.request("GET", &format!("/bytes/{LENGTH}"));
    let transfer = client.exchange(request, Payload::of(0).stream());
    let (_, download, _) = within("the download", transfer)
        .await
        .expect("it comes whole");
    let sha256 = Payload::of(LENGTH).sha256();
    assert_eq!(
        download,
        Download {
            length: LENGTH,
            sha256
        }
    );
    let arrivals = relay.arrivals().split_off(before);
    let slice =
        |at: &std::time::Instant| (*at - arrivals[0]).as_millis() / (ROUND_TRIP.as_millis() / 20);
    let mut slices: Vec<u128> = arrivals.iter().map(slice).collect();
    let all = slices.last().expect("datagrams came") + 1;
    slices.dedup();
    slices.len() as f64 / all as f64
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
