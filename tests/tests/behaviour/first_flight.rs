//! The answer to a ClientHello.

use std::time::Duration;

use tidegate_tests::{Gateway, H3, Tap, Upstream, eventually, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_hello_that_comes_again_is_answered_again_at_once() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().shards(1).start(&upstream).await;
    let tap = Tap::to(gateway.https, Duration::from_millis(20)).await;
    tap.deafen();
    let target = gateway.target().at(tap.address);
    let client = tokio::spawn(async move { H3::connect(&target).await.get("/").await });
    let first = eventually("there is an answer", || async {
        tap.down().first().cloned()
    })
    .await;
    eventually("the same answer comes again", || async {
        let down = tap.down();
        let copies = down.iter().filter(|datagram| **datagram == first);
        (copies.count() > 1).then_some(())
    })
    .await;
    tap.hear();
    let answer = within("the handshake completes", client).await;
    assert_eq!(answer.expect("it did not panic").status, 200);
}
