//! Connections that live long: keys wear out, and are renewed.

use std::{sync::Arc, time::Duration};

use quinn::{Endpoint, crypto::rustls::QuicClientConfig};
use rustls::crypto::ring::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256,
};
use serde_json::Value;
use tidegate_tests::{
    Gateway, H3, Payload, Relay, Upstream, eventually, heavy,
    raw::{Level, RawClient, Twist, get, stream},
    within,
};

const PING: u8 = 0x01;
/// RFC 9000 20.1.
const AEAD_LIMIT_REACHED: u64 = 0x0f;

async fn id_of(gateway: &Gateway, client: &H3) -> String {
    gateway.admin().id_from(client.local_address()).await
}

fn renewals(gateway: &Gateway) -> Option<f64> {
    gateway.dataplane_samples().sum(
        "tidegate_quic_connections_closed_total",
        &[("tidegate_closed_by", "aead_limit")],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_replaced_long_before_they_have_protected_too_much() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .packets_per_key(12_000)
        .start(&upstream)
        .await;
    let client = gateway.h3().await;
    client.get("/").await;
    let id = id_of(&gateway, &client).await;
    let (mut sent, mut updates) = (0, 0);
    // More than twice what one key may protect. The next one but one has to wait until what was
    // sealed with the first cannot arrive any more.
    while sent < 25_000 {
        let answer = client.get("/bytes/1200000").await;
        assert_eq!(answer.body.len(), 1_200_000);
        tokio::time::sleep(Duration::from_millis(400)).await;
        let connection = gateway.admin().connection(&id).await;
        assert_eq!(connection["draining"], false, "{connection}");
        let number = |name: &str| connection["stats"][name].as_u64().expect("a number");
        (sent, updates) = (number("packets_sent"), number("key_updates"));
    }
    assert!(updates >= 3, "{updates} updates for {sent} packets");
    assert_eq!(renewals(&gateway), Some(0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_keeps_its_keys_is_drained_and_closed_just_before_the_limit() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .packets_per_key(4_000)
        .start(&upstream)
        .await;
    let target = gateway.target();
    let tls = target.tls.clone().expect("it has TLS");
    // It has no keys but those of its handshake.
    let mut client = RawClient::begin(&target, tls, Twist::default()).await;
    assert!(client.handshake(Duration::from_secs(10)).await);
    let id = gateway.admin().connections("").await[0]["id"].clone();
    let id = id.as_str().expect("a string").to_owned();
    // Something under way, for which a drain waits.
    let asking = stream(0, 0, &get(&target, "/gate/never"), true);
    client.fire(Level::OneRtt, asking).await;
    eventually("the request is under way", || async {
        (upstream.active() == 1).then_some(())
    })
    .await;
    let mut drained = false;
    let record = within("the connection ends", async {
        loop {
            // Each is acknowledged, with the keys that the client does not have.
            for _ in 0..50 {
                client.fire(Level::OneRtt, vec![PING]).await;
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            let (status, connection) = gateway.admin().get(&format!("/v1/connections/{id}")).await;
            if status != 200 || connection["stage"] != "running" {
                break gateway.admin().audited(&id).await;
            }
            drained |= connection["draining"] == true;
        }
    })
    .await;
    assert!(drained, "it was told to go elsewhere first");
    assert_eq!(record["audit"]["closed_by"], "aead_limit", "{record}");
    assert_eq!(
        record["audit"]["sent_conn_close_transport_error_code"],
        AEAD_LIMIT_REACHED
    );
    let sent = record["stats"]["packets_sent"].as_u64().expect("a number");
    // A quarter of the limit was sealed with the first key.
    assert!((3_900..=5_000).contains(&sent), "{sent} packets");
    assert_eq!(renewals(&gateway), Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chacha20_has_no_such_limit() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .packets_per_key(1_000)
        .start(&upstream)
        .await;
    let target = gateway.target();
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites = vec![TLS13_CHACHA20_POLY1305_SHA256];
    let roots = tls_roots(&gateway);
    let mut chacha = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the suite is one of TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    chacha.alpn_protocols = vec![b"h3".to_vec()];
    let initial = TLS13_AES_128_GCM_SHA256
        .tls13()
        .and_then(|suite| suite.quic_suite())
        .expect("Initials are protected with it");
    let crypto = QuicClientConfig::with_initial(Arc::new(chacha), initial).expect("TLS 1.3");
    let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).expect("loopback binds");
    let connection = endpoint
        .connect_with(
            quinn::ClientConfig::new(Arc::new(crypto)),
            target.address,
            &target.server_name,
        )
        .expect("the name is valid")
        .await
        .expect("the suite is known");
    let client = H3::over(endpoint, connection, &target)
        .await
        .expect("HTTP/3 is spoken");
    assert_eq!(client.get("/bytes/4000000").await.body.len(), 4_000_000);
    let id = id_of(&gateway, &client).await;
    let connection = gateway.admin().connection(&id).await;
    assert_eq!(
        (
            &connection["tls"]["cipher"],
            &connection["draining"],
            &connection["stage"]
        ),
        (
            &Value::from("TLS_CHACHA20_POLY1305_SHA256"),
            &Value::from(false),
            &Value::from("running")
        )
    );
    assert!(connection["stats"]["packets_sent"].as_u64() > Some(2_000));
}

fn tls_roots(gateway: &Gateway) -> rustls::RootCertStore {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(gateway.authority.pem().as_bytes());
    roots
        .add(root.expect("it is PEM"))
        .expect("it is an authority");
    roots
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_may_update_its_keys_again_and_again() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let id = id_of(&gateway, &client).await;
    for turn in 0..20 {
        client.connection.force_key_update();
        let length = 10_000 * (turn + 1);
        let answer = client.get(&format!("/bytes/{length}")).await;
        assert_eq!(answer.body.len(), length);
        // RFC 9001 6.5: a client waits three probe time-outs between updates.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let connection = gateway.admin().connection(&id).await;
    assert_eq!(
        (&connection["requests"], &connection["stage"]),
        (&21.into(), &"running".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_goes_on_after_it_has_rested() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    let id = id_of(&gateway, &client).await;
    let before = gateway.admin().connection(&id).await;
    for turn in 1..=3 {
        let length = 1_000_000 * turn;
        let answer = client.get(&format!("/bytes/{length}")).await;
        assert_eq!(answer.body.len(), length);
        // What it does not need, its TLS session too, is given back after a second.
        tokio::time::sleep(Duration::from_secs(2)).await;
        client.connection.force_key_update();
    }
    assert_eq!(client.get("/").await.status, 200);
    let connection = gateway.admin().connection(&id).await;
    assert_eq!(
        (&connection["requests"], &connection["stage"]),
        (&4.into(), &"running".into())
    );
    assert!(before["tls"].is_object(), "{before}");
    assert_eq!(connection["tls"], before["tls"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_may_change_under_a_transfer_whose_client_moves() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().shards(2).start(&upstream).await;
    let relay = Relay::to(gateway.https).await;
    let client = H3::connect_alive(
        &gateway.target().at(relay.address),
        Duration::from_millis(200),
    )
    .await;
    client.get("/").await;
    let length: u64 = 20 << 20;
    let transfer = client.exchange(
        client.request("GET", &format!("/bytes/{length}")),
        Payload::of(0).stream(),
    );
    let change = async {
        for turn in 1..=6 {
            let goal = length / 8 * turn;
            eventually("the transfer goes on", || async {
                (relay.bytes_down() >= goal).then_some(())
            })
            .await;
            client.connection.force_key_update();
            relay.rebind().await;
        }
    };
    let (answer, ()) = tokio::join!(transfer, change);
    let (_, download, _) = answer.expect("it comes whole");
    assert_eq!(download.sha256, Payload::of(length).sha256());
    assert_eq!(relay.sources().len(), 7);
}
