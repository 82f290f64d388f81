//! Acknowledgements share the packets of answers, and come in time where there is no answer.

use std::time::{Duration, Instant};

use tidegate_tests::{Gateway, H3, Upstream, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_acknowledged_with_its_answer() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let before = packets_sent(&gateway, &client).await;
    let frames = || client.connection.stats().frame_tx.stream;
    let (mut late, asked) = (0, frames());
    for _ in 0..REQUESTS {
        let began = Instant::now();
        client.get("/").await;
        // An answer that takes so long is preceded by an acknowledgement.
        late += u64::from(began.elapsed() >= LONGEST_WAIT);
    }
    let sent = packets_sent(&gateway, &client).await - before;
    // The end of a request may come in a packet of its own, after the answer.
    let excused = late + (frames() - asked - REQUESTS);
    assert!(
        (REQUESTS..REQUESTS + excused + REQUESTS / 4).contains(&sent),
        "{sent} packets for {REQUESTS} answers, {excused} excused"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_waits_for_its_answer_is_acknowledged() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let before = client.connection.stats().frame_rx.acks;
    let mut stream = (client.open(client.request("GET", "/never")).await).expect("it begins");
    stream.finish().await.expect("it has no body");
    eventually("the request is acknowledged", || async {
        let acknowledged = client.connection.stats().frame_rx.acks > before;
        (acknowledged && upstream.active() == 1).then_some(())
    })
    .await;
}

async fn packets_sent(gateway: &Gateway, client: &H3) -> u64 {
    let facts = (gateway.admin())
        .connection_from(client.local_address())
        .await;
    facts["stats"]["packets_sent"].as_u64().expect("a number")
}

const REQUESTS: u64 = 40;
/// What the gateway waits for an answer, less than what the client sees of it.
const LONGEST_WAIT: Duration = Duration::from_millis(15);
