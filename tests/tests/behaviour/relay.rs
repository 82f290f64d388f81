//! Two data planes serve one Gateway on the same ports, and the kernel, like a balancer that
//! forgets its flows, gives each new address of a client to either of them.

use std::time::Duration;

use quinn::ConnectionError;
use tidegate_dataplane::Dataplane;
use tidegate_tests::{
    Close, Download, Gateway, H3, Payload, Relay, Samples, Upstream, eventually, heavy, within,
};

const REBINDINGS: u64 = 20;
const LENGTH: u64 = 20 * 1024 * 1024;
const RELAYED: &str = "tidegate_quic_datagrams_relayed_total";

/// A client whose connection the first data plane has, and the second one.
async fn start(absence: Duration) -> (Upstream, Gateway, Relay, H3, String, Dataplane) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .shards(2)
        .relaying()
        .absence(absence)
        .start(&upstream)
        .await;
    let relay = Relay::to(gateway.https).await;
    let client = H3::connect_alive(
        &gateway.target().at(relay.address),
        Duration::from_millis(100),
    )
    .await;
    client.get("/").await;
    let live = gateway.admin().connection_from(relay.sources()[0]).await;
    let id = live["id"].as_str().expect("a string").to_owned();
    let second = gateway.another_dataplane("other").await;
    (upstream, gateway, relay, client, id, second)
}

fn relayed(dataplane: &Dataplane, leg: &str) -> f64 {
    let samples = Samples::parse(&dataplane.metrics_text());
    samples.sum(RELAYED, &[("leg", leg)]).unwrap_or_default()
}

/// Gives the client new addresses until one is the second data plane's.
async fn lead_astray(relay: &Relay, client: &H3, second: &Dataplane) {
    for _ in 0..40 {
        relay.rebind().await;
        let before = relayed(second, "to_client");
        within("an answer comes", client.get("/")).await;
        if relayed(second, "to_client") > before {
            return;
        }
    }
    panic!("the second data plane never got a packet");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_goes_on_wherever_its_packets_land() {
    let _alone = heavy().await;
    let (_upstream, gateway, relay, client, id, second) = start(Duration::from_secs(60)).await;
    lead_astray(&relay, &client, &second).await;
    let request = client.request("GET", &format!("/bytes/{LENGTH}"));
    let transfer = client.exchange(request, Payload::of(0).stream());
    let moving = async {
        for turn in 1..=REBINDINGS {
            let goal = LENGTH / (REBINDINGS + 2) * turn;
            eventually("the transfer goes on", || async {
                (relay.bytes_down() >= goal).then_some(())
            })
            .await;
            relay.rebind().await;
        }
    };
    let (answer, ()) = tokio::join!(transfer, moving);
    let (_, download, _) = answer.expect("it comes whole");
    let whole = Download {
        length: LENGTH,
        sha256: Payload::of(LENGTH).sha256(),
    };
    assert_eq!(download, whole);

    // Each leg of the way there and of the way back.
    let first = gateway.dataplane_samples();
    for leg in ["from_peer", "to_peer"] {
        assert!(first.sum(RELAYED, &[("leg", leg)]) > Some(0.0), "{leg}");
    }
    for leg in ["to_owner", "to_client"] {
        assert!(relayed(&second, leg) > 0.0, "{leg}");
    }
    drop(client);
    let record = gateway.admin().audited(&id).await;
    let audit = &record["audit"];
    assert!(audit["relayed_datagrams"].as_u64() > Some(100), "{audit}");
    // The client's own addresses, not those of a data plane.
    let sources: Vec<String> = relay.sources().iter().map(ToString::to_string).collect();
    for change in audit["path_changes"].as_array().expect("a list") {
        let to = change["to"].as_str().expect("a string");
        assert!(sources.iter().any(|source| source == to), "{to}");
    }
    second.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_reaches_a_client_that_another_data_plane_reaches() {
    let (_upstream, gateway, relay, client, id, second) = start(Duration::from_secs(60)).await;
    lead_astray(&relay, &client, &second).await;
    let now = relay.sources().pop().expect("there is one").to_string();
    eventually("the connection's address is the client's", || async {
        client.get("/").await;
        (gateway.admin().connection(&id).await["peer_address"] == now.as_str()).then_some(())
    })
    .await;
    let close = Close {
        send_application_close: true,
        error_code: 0x1234,
        reason: "maintenance",
    };
    let (command, seen) = tokio::join!(
        gateway.admin().close(&id, close),
        within("the close comes", client.closed())
    );
    assert_eq!(command.0.as_u16(), 200);
    let ConnectionError::ApplicationClosed(frame) = seen else {
        panic!("closed by {seen:?}")
    };
    assert_eq!(frame.error_code.into_inner(), 0x1234);
    second.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_plane_that_drains_answers_through_the_other_one() {
    let (_upstream, mut gateway, relay, client, id, second) = start(Duration::from_secs(60)).await;
    lead_astray(&relay, &client, &second).await;
    let request = client.request("GET", &format!("/bytes/{LENGTH}"));
    let transfer = client.exchange(request, Payload::of(0).stream());
    let ending = async {
        eventually("the transfer has begun", || async {
            (relay.bytes_down() > 100_000).then_some(())
        })
        .await;
        gateway.stop_dataplane().await;
    };
    let (answer, ()) = tokio::join!(transfer, ending);
    let (_, download, _) = answer.expect("it comes whole");
    assert_eq!(download.length, LENGTH);
    let record = gateway.admin().audited(&id).await;
    assert_ne!(record["audit"]["closed_by"], "abort");
    second.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_of_a_data_plane_that_is_gone_is_told() {
    let absence = Duration::from_millis(300);
    let (_upstream, mut gateway, _relay, client, _, second) = start(absence).await;
    gateway.kill_dataplane();
    let seen = within("the connection ends", client.closed()).await;
    assert!(matches!(seen, ConnectionError::Reset), "{seen:?}");
    second.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_frame_of_a_peer_is_counted_and_not_answered() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().relaying().start(&upstream).await;
    let port = gateway.relay_address();
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0")
        .await
        .expect("loopback binds");
    let forged = 50;
    for length in 0..forged {
        let mut frame = vec![1; 40 * length + 1];
        rand::fill(&mut frame[1..]);
        socket.send_to(&frame, port).await.expect("it is sent");
    }
    eventually("they are counted", || async {
        let samples = gateway.dataplane_samples();
        let reason = [("reason", "relay_forged")];
        let dropped = samples.sum("tidegate_quic_datagrams_dropped_total", &reason);
        (dropped >= Some(forged as f64)).then_some(())
    })
    .await;
    let mut answer = [0; 1500];
    let silence = tokio::time::timeout(Duration::from_millis(200), socket.recv(&mut answer));
    assert!(silence.await.is_err(), "nobody answers");
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
}
