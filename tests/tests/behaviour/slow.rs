//! Clients that begin something and never end it.

use std::time::Duration;

use serde_json::json;
use tidegate_tests::{Gateway, H3, Upstream, http, https};
use tokio::net::TcpStream;

/// RFC 9114 8.1.
const REQUEST_INCOMPLETE: u32 = 0x10d;
const ALIVE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_section_that_never_ends_is_given_up_on_its_stream_alone() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    let (_send, mut receive) = begin(&client).await;
    given_up(&mut receive).await;
    assert_eq!(client.get("/hello").await.status, 200);
    assert!(upstream.seen_at("/").is_empty(), "nothing else went up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_section_has_the_time_that_its_name_gives_it() {
    let upstream = Upstream::start().await;
    let (patient, hasty) = ("patient.site.test", "site.test");
    let gateway = Gateway::builder().hostname(patient).start(&upstream).await;
    let listener = |name: &str, hostname: &str, time: &str| {
        let mut listener = https(name, gateway.https.port(), Some(hostname));
        listener["tls"]["options"] = json!({"tidegate.dev/header-timeout": time});
        listener
    };
    gateway.folder.gateway(&json!([
        listener("https", patient, "24h"),
        listener("hasty", hasty, "500ms"),
        http(gateway.http.port()),
    ]));
    let target = gateway.target();
    let patient = H3::connect_alive(&target.named(patient), ALIVE).await;
    let (_patience, mut waits) = begin(&patient).await;
    let hasty = H3::connect_alive(&target.named(hasty), ALIVE).await;
    let (_haste, mut ends) = begin(&hasty).await;
    given_up(&mut ends).await;
    // Longer than it would have without a word about it.
    let given_up = tokio::time::timeout(Duration::from_secs(12), waits.read(&mut [0])).await;
    assert!(given_up.is_err(), "it has a day: {given_up:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tls_handshake_over_tcp_has_the_time_that_its_listener_gives_it() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .tls_option("tidegate.dev/tls-handshake-timeout", "3s")
        .start(&upstream)
        .await;
    let silent = TcpStream::connect(gateway.https)
        .await
        .expect("it is accepted");
    let address = silent.local_addr().expect("it is connected");
    let id = gateway.admin().id_from(address).await;
    let record = gateway.admin().audited(&id).await;
    let closed_by = &record["audit"]["closed_by"];
    assert_eq!(closed_by, "handshake_timeout", "{record}");
    assert_eq!(record["handshake"]["timeout_ms"], 3_000, "{record}");
}

/// Sends HEADERS of 64 bytes, and two of them.
async fn begin(client: &H3) -> (quinn::SendStream, quinn::RecvStream) {
    let (mut send, receive) = client.connection.open_bi().await.expect("a stream is free");
    send.write_all(&[0x01, 0x40, 0x40, 0x00, 0x00])
        .await
        .expect("it is taken");
    (send, receive)
}

async fn given_up(receive: &mut quinn::RecvStream) {
    let mut nothing = [0; 1];
    let given_up = tokio::time::timeout(Duration::from_secs(60), receive.read(&mut nothing))
        .await
        .expect("it is given up in time");
    assert_eq!(
        given_up,
        Err(quinn::ReadError::Reset(REQUEST_INCOMPLETE.into()))
    );
}
