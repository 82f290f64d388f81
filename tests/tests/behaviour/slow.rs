//! Clients that begin something and never end it.

use std::time::Duration;

use tidegate_tests::{Gateway, Upstream};

/// RFC 9114 8.1.
const REQUEST_INCOMPLETE: u32 = 0x10d;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_section_that_never_ends_is_given_up_on_its_stream_alone() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    let (mut send, mut receive) = client.connection.open_bi().await.expect("a stream is free");
    // HEADERS of 64 bytes, and two of them.
    send.write_all(&[0x01, 0x40, 0x40, 0x00, 0x00])
        .await
        .expect("it is taken");
    let mut nothing = [0; 1];
    let given_up = tokio::time::timeout(Duration::from_secs(60), receive.read(&mut nothing))
        .await
        .expect("it is given up in time");
    assert_eq!(
        given_up,
        Err(quinn::ReadError::Reset(REQUEST_INCOMPLETE.into()))
    );
    assert_eq!(client.get("/hello").await.status, 200);
    assert!(upstream.seen_at("/").is_empty(), "nothing else went up");
}
