//! Row 3: floods of handshakes.

use std::{net::IpAddr, sync::Arc};

use quinn::{Endpoint, crypto::rustls::QuicClientConfig};
use tidegate_tests::{Gateway, H3, Samples, Upstream, eventually, heavy, raw::Replay, within};

use super::{SLACK, apart, dropped, half_open, network, received, socket, taken};

fn retry_active(samples: &Samples) -> bool {
    samples.sum("tidegate_quic_retry_active", &[]) >= Some(1.0)
}

async fn connect_from(gateway: &Gateway, address: IpAddr) -> H3 {
    let target = gateway.target();
    let tls = target.tls.clone().expect("it has TLS");
    let crypto = QuicClientConfig::try_from(tls).expect("it has TLS 1.3");
    let endpoint = Endpoint::client((address, 0).into()).expect("loopback binds");
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint
        .connect_with(config, target.address, &target.server_name)
        .expect("the name is valid");
    let connection = within("the handshake", connecting)
        .await
        .expect("it is let in");
    H3::over(endpoint, connection, &target)
        .await
        .expect("HTTP/3 begins")
}

async fn was_validated(gateway: &Gateway, client: &H3) -> bool {
    let facts = gateway
        .admin()
        .connection_from(client.local_address())
        .await;
    facts["handshake"]["retry"] == true
}

/// Row 3, at a tenth of the rate: 2,000 handshakes from 250 networks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_03_a_flood_from_everywhere_is_asked_for_addresses_until_it_ends() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().shards(1).start(&upstream).await;
    let client = gateway.h3().await;
    let replay = Replay::new(&gateway.target());
    let before = received(&gateway.dataplane_samples());
    let mut on = false;
    for turn in 0..2_000 {
        let source = socket(network(turn % 250, 1 + (turn / 250) as u8)).await;
        for datagram in replay.flight() {
            let sent = source.send_to(&datagram, gateway.https).await;
            sent.expect("loopback sends");
        }
        if turn % 50 == 49 {
            let samples = taken(&gateway, before, turn).await;
            assert!(half_open(&samples, "unvalidated") <= 256.0, "turn {turn}");
            assert!(retry_active(&samples) || !on, "it went off at turn {turn}");
            on = retry_active(&samples);
            assert_eq!(client.get("/work").await.status, 200);
        }
    }
    assert!(on, "the flood was noticed");
    let samples = gateway.dataplane_samples();
    let retries = samples.sum("tidegate_quic_replies_total", &[("type", "retry")]);
    assert!(retries >= Some(1_500.0), "{retries:?}");
    // Somebody honest, of a network of the flood's.
    let honest = connect_from(&gateway, network(7, 200)).await;
    assert_eq!(honest.get("/honest").await.status, 200);
    assert!(was_validated(&gateway, &honest).await);
    eventually("after the flood nobody is asked any more", || async {
        let samples = gateway.dataplane_metrics().await;
        (!retry_active(&samples) && half_open(&samples, "unvalidated") == 0.0).then_some(())
    })
    .await;
    let later = gateway.h3().await;
    assert!(!was_validated(&gateway, &later).await);
}

/// Row 3: a thousand handshakes from one network.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_03_a_flood_from_one_network_is_asked_before_others_are() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().shards(1).start(&upstream).await;
    let replay = Replay::new(&gateway.target());
    let before = received(&gateway.dataplane_samples());
    for turn in 0..1_000 {
        let source = socket(network(0, 1 + (turn % 100) as u8)).await;
        let flight = replay.flight();
        let sent = source.send_to(&flight[0], gateway.https).await;
        sent.expect("loopback sends");
        if turn % 50 == 49 {
            taken(&gateway, before, turn + 1).await;
        }
    }
    let samples = gateway.dataplane_samples();
    assert_eq!(half_open(&samples, "unvalidated"), 128.0);
    assert!(!retry_active(&samples), "others are not asked");
    let neighbour = connect_from(&gateway, network(0, 200)).await;
    assert!(was_validated(&gateway, &neighbour).await);
    assert_eq!(neighbour.get("/neighbour").await.status, 200);
    let other = connect_from(&gateway, network(1, 200)).await;
    assert!(!was_validated(&gateway, &other).await);
}

/// Row 3: where Retry is off, the network's share is all that it gets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_03_without_retry_a_network_is_refused_beyond_its_share() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .shards(1)
        .tls_option("tidegate.dev/retry", "never")
        .start(&upstream)
        .await;
    let replay = Replay::new(&gateway.target());
    let before = received(&gateway.dataplane_samples());
    let source = socket(network(0, 1)).await;
    for turn in 0..300 {
        let sent = source.send_to(&replay.flight()[0], gateway.https).await;
        sent.expect("loopback sends");
        if turn % 50 == 49 {
            taken(&gateway, before, turn + 1).await;
        }
    }
    let samples = gateway.dataplane_samples();
    assert_eq!(half_open(&samples, "unvalidated"), 128.0);
    assert_eq!(dropped(&samples, "prefix_limit"), 172.0);
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
}

/// Row 3: more handshakes than a shard holds, from 220 networks, with Retry off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_03_a_shard_holds_so_many_handshakes_and_no_more() {
    const MOST: u64 = 2_048;
    const EACH: u64 = 40 << 10;
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let mut gateway = apart()
        .tls_option("tidegate.dev/retry", "never")
        .start(&upstream)
        .await;
    let client = gateway.h3().await;
    let replay = Replay::new(&gateway.target());
    let flood: Vec<Vec<u8>> = (0..2_200).map(|_| replay.flight().remove(0)).collect();
    let mut sources = Vec::new();
    for index in 0..220 {
        sources.push(socket(network(index, 1)).await);
    }
    let memory = gateway.dataplane_process().memory();
    let before = received(&gateway.dataplane_metrics().await);
    for (turn, datagram) in flood.iter().enumerate() {
        let sent = sources[turn % 220].send_to(datagram, gateway.https).await;
        sent.expect("loopback sends");
        if turn % 100 == 99 {
            let samples = taken(&gateway, before, turn).await;
            assert!(half_open(&samples, "unvalidated") <= MOST as f64);
        }
    }
    let samples = gateway.dataplane_metrics().await;
    assert!(dropped(&samples, "handshake_limit") > 0.0);
    let grown = gateway.dataplane_process().memory().saturating_sub(memory);
    assert!(grown <= MOST * EACH + SLACK, "{grown} bytes");
    assert_eq!(client.get("/").await.status, 200);
}
