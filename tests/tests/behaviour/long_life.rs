//! Connections that live long: keys wear out, and are renewed.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use h3i::actions::h3::{Action, StreamEvent, StreamEventType, WaitType, send_headers_frame};
use quinn::{ConnectionError, Endpoint, crypto::rustls::QuicClientConfig};
use rustls::crypto::ring::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256,
};
use serde_json::Value;
use tidegate_tests::{
    Gateway, H3, Payload, Relay, Upstream, attack, eventually, heavy, request_fields, within,
};

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
async fn a_connection_is_renewed_before_its_keys_have_protected_too_much() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .packets_per_key(16_000)
        .start(&upstream)
        .await;
    // A client that does not end by itself when it is told to go elsewhere.
    let target = gateway.target();
    let ask =
        |stream, path| send_headers_frame(stream, true, request_fields(&target, "GET", path, &[]));
    let finished = |stream_id| Action::Wait {
        wait_type: WaitType::StreamEvent(StreamEvent {
            stream_id,
            event_type: StreamEventType::Finished,
        }),
    };
    let script = vec![
        ask(0, "/bytes/100"),
        Action::FlushPackets,
        finished(0),
        // A drain begins at half of the limit, in the middle of this: some 11,000 packets.
        ask(4, "/bytes/15000000"),
        Action::FlushPackets,
        finished(4),
        Action::Wait {
            wait_type: WaitType::WaitDuration(Duration::from_secs(20)),
        },
    ];
    let run = attack(&target, script, &[]).await;
    assert_eq!(
        run.content(4).len(),
        15_000_000,
        "what is under way finishes"
    );
    assert_eq!(run.closed(), Some(0x100), "H3_NO_ERROR");
    let records = eventually("the record arrives", || async {
        let records = gateway.admin().audit("").await;
        (!records.is_empty()).then_some(records)
    })
    .await;
    let record = &records[0]["connection"];
    let audit = &record["audit"];
    assert_eq!(audit["closed_by"], "aead_limit", "{record}");
    assert_eq!(audit["connection_close_reason"], "AEAD limit");
    assert_eq!(
        (&record["draining"], &record["requests"]),
        (&true.into(), &2.into())
    );
    let sent = record["stats"]["packets_sent"].as_u64().expect("a number");
    assert!((8_000..16_000).contains(&sent), "{sent} packets");
    assert_eq!(renewals(&gateway), Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_client_goes_on_with_another() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .packets_per_key(16_000)
        .start(&upstream)
        .await;
    let client = gateway.h3().await;
    let answer = client.get("/bytes/15000000").await;
    assert_eq!(answer.body.len(), 15_000_000);
    match within("the connection ends", client.closed()).await {
        ConnectionError::ApplicationClosed(frame) => {
            assert_eq!(frame.error_code.into_inner(), 0x100);
        }
        // It had nothing left to do and was first.
        ConnectionError::LocallyClosed => {}
        other => panic!("closed by {other:?}"),
    }
    let next = gateway.h3().await;
    assert_eq!(next.get("/").await.status, 200);
    let id = id_of(&gateway, &next).await;
    assert_eq!(gateway.admin().connection(&id).await["draining"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_cannot_end_is_closed_just_before_the_limit() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .packets_per_key(4_000)
        .start(&upstream)
        .await;
    let client = gateway.h3().await;
    client.get("/").await;
    let id = id_of(&gateway, &client).await;
    let answer = client
        .send(client.request("GET", "/bytes/40000000"), Bytes::new())
        .await;
    assert!(answer.is_err(), "it needs more packets than there are");
    let ConnectionError::ConnectionClosed(frame) =
        within("the connection ends", client.closed()).await
    else {
        panic!("it is a transport close")
    };
    assert_eq!(u64::from(frame.error_code), AEAD_LIMIT_REACHED);
    let record = gateway.admin().audited(&id).await;
    assert_eq!(record["audit"]["closed_by"], "aead_limit", "{record}");
    assert_eq!(
        record["audit"]["sent_conn_close_transport_error_code"],
        AEAD_LIMIT_REACHED
    );
    let sent = record["stats"]["packets_sent"].as_u64().expect("a number");
    assert!((2_900..=4_000).contains(&sent), "{sent} packets");
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
