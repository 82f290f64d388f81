//! Rows 10, 13, 14 and 30: acknowledgements, streams and their resets.

use std::time::Duration;

use h3::error::Code;
use quinn::ConnectionError;
use tidegate_tests::{
    Cancel, Gateway, Revocable, Target, Upstream, eventually, heavy,
    raw::{Bytes, Level, RawClient, Twist},
    within,
};

use super::{SLACK, apart, arrives, get, received, stream, taken};

/// RFC 9000 20.1.
const FLOW_CONTROL_ERROR: u64 = 0x03;
const STREAM_LIMIT_ERROR: u64 = 0x04;
const FINAL_SIZE_ERROR: u64 = 0x06;
const PROTOCOL_VIOLATION: u64 = 0x0a;
/// RFC 9114 8.1.
const H3_EXCESSIVE_LOAD: u64 = 0x107;
const ACK: u64 = 0x02;
/// What a listener offers by default: for a connection, and for a stream of it.
const CONNECTION_WINDOW: u64 = 1 << 20;
const STREAM_WINDOW: u64 = 1 << 18;

async fn established(target: &Target) -> RawClient {
    let tls = target.tls.clone().expect("it has TLS");
    let mut client = RawClient::begin(target, tls, Twist::default()).await;
    assert!(client.handshake(Duration::from_secs(10)).await);
    client
}

/// Row 10: packets are acknowledged that were never sent, so that the window grows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_acknowledgements_of_packets_that_were_never_sent_close_the_connection() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let target = gateway.target();
    for ahead in [1_000, 1 << 20, 1 << 60] {
        let mut client = established(&target).await;
        let request = stream(0, 0, &get(&target, "/bytes/100000"), true);
        client.send(Level::OneRtt, request).await;
        let frames = Bytes::new().numbers(&[ACK, ahead, 0, 0, ahead]).done();
        client.fire(Level::OneRtt, frames).await;
        let close = client.closed(Duration::from_secs(10)).await;
        let code = close.map(|close| close.code);
        assert_eq!(code, Some(PROTOCOL_VIOLATION), "{ahead} ahead");
    }
}

/// Row 13: data in pieces of a byte, with as many gaps as are taken in all that flow control
/// allows. What is kept is less than twice the window; who leaves more gaps is closed (RFC 9000
/// 21.6).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_stream_data_with_gaps_takes_bounded_memory() {
    const CONNECTIONS: usize = 10;
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let mut gateway = apart().start(&upstream).await;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(established(&gateway.target()).await);
    }
    let memory = gateway.dataplane_process().memory();
    let before = received(&gateway.dataplane_metrics().await);
    let mut sent = 0;
    for client in &mut clients {
        for id in (0..CONNECTION_WINDOW / STREAM_WINDOW).map(|index| index * 4) {
            for frames in pieces(id, (1..STREAM_WINDOW).step_by(300)) {
                client.fire(Level::OneRtt, frames).await;
                sent += 1;
            }
        }
        taken(&gateway, before, sent).await;
    }
    for client in &mut clients {
        let close = client.closed_silently(Duration::from_millis(200)).await;
        assert_eq!(close, None, "it keeps to the windows");
    }
    let grown = gateway.dataplane_process().memory().saturating_sub(memory);
    let most = CONNECTIONS as u64 * 2 * CONNECTION_WINDOW + SLACK;
    assert!(grown <= most, "{grown} bytes");

    let mut client = established(&gateway.target()).await;
    for frames in pieces(0, (1..1_000).step_by(2)) {
        client.fire(Level::OneRtt, frames).await;
    }
    let close = client.closed(Duration::from_secs(10)).await;
    assert_eq!(close.map(|close| close.code), Some(PROTOCOL_VIOLATION));
    drop(clients);
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
}

/// Bytes of a stream at these offsets, as the frames of one packet after the other.
fn pieces(id: u64, offsets: impl Iterator<Item = u64>) -> Vec<Vec<u8>> {
    let offsets: Vec<u64> = offsets.collect();
    let packet = |offsets: &[u64]| {
        let frames = offsets.iter().fold(Bytes::new(), |frames, offset| {
            frames.numbers(&[0x0e, id, *offset, 1]).bytes(&[0])
        });
        frames.done()
    };
    offsets.chunks(140).map(packet).collect()
}

/// Row 14, at a thirtieth: 3,000 requests that are taken back as soon as the upstream has them,
/// by RESET_STREAM alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_14_a_client_that_only_resets_is_closed() {
    only_cancels(Cancel::Reset).await;
}

/// Row 14: the same by STOP_SENDING alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_14_a_client_that_only_stops_is_closed() {
    only_cancels(Cancel::Stop).await;
}

/// Row 14: the same by both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_14_a_client_that_only_cancels_is_closed() {
    only_cancels(Cancel::Both).await;
}

async fn only_cancels(how: Cancel) {
    const AT_ONCE: usize = 30;
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    let begin = std::time::Instant::now();
    let started = || upstream.seen_at("/never").len();
    let mut requests = Vec::<Revocable>::new();
    'attack: while requests.len() < 3_000 {
        let first = requests.len();
        for _ in 0..AT_ONCE {
            let begun = within("room for a request", client.begin_revocable("/never"));
            let Ok(request) = begun.await else {
                break 'attack;
            };
            requests.push(request);
        }
        eventually("the upstream has them, or the connection ends", || async {
            let closed = client.connection.close_reason().is_some();
            (closed || started() >= requests.len()).then_some(())
        })
        .await;
        for request in &mut requests[first..] {
            request.cancel(how);
        }
    }
    let reason = within("the connection ends", client.closed()).await;
    let ConnectionError::ApplicationClosed(frame) = reason else {
        panic!("{how:?}, after {}: {reason:?}", requests.len())
    };
    assert_eq!(frame.error_code.into_inner(), H3_EXCESSIVE_LOAD, "{how:?}");
    let budget = 256 + 16 * (begin.elapsed().as_secs() as usize + 1);
    let started = started();
    assert!(started >= 256, "{how:?}: {started} are no attack");
    // Those of the last turn are under way when it ends.
    assert!(
        started <= budget + AT_ONCE,
        "{how:?}: {started} of {budget}"
    );
    eventually("nothing is under way", || async {
        (upstream.active() == 0).then_some(())
    })
    .await;
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
}

/// Row 14: a client that leaves pages, and reads others, is no attacker; and its connection lets
/// it go on after as many cancelled streams as it may have at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_14_a_client_that_also_reads_may_cancel() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    for _ in 0..300 {
        let mut stream = client
            .open(client.request("GET", "/never"))
            .await
            .expect("it is open");
        stream.stop_sending(Code::H3_REQUEST_CANCELLED);
        assert_eq!(client.get("/read").await.status, 200);
    }
    assert_eq!(client.connection.close_reason(), None);
}

/// A response that is complete before the request is takes nothing from a client that ends the
/// request later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_answered_early_do_not_use_up_a_connection() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    for turn in 0..200 {
        let request = client.request("POST", "/status/403");
        let mut stream = client.open(request).await.expect("it is open");
        let answer = within("the answer", tidegate_tests::H3::read(&mut stream)).await;
        assert_eq!(answer.expect("it is answered").status, 403, "turn {turn}");
        let _refused = stream.finish().await;
    }
}

/// Row 30: STREAM frames that carry nothing and end nothing are no data, however many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_30_empty_stream_frames_change_nothing() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let target = gateway.target();
    let mut client = established(&target).await;
    let request = get(&target, "/after-nothing");
    for _ in 0..100 {
        let empty = (0..200).flat_map(|_| stream(0, 0, &[], false));
        client.fire(Level::OneRtt, empty.collect()).await;
    }
    client.stay(Duration::from_millis(50)).await;
    let half = request.len() / 2;
    let frames = stream(0, 0, &request[..half], false);
    client.send(Level::OneRtt, frames).await;
    let frames = stream(0, half as u64, &[], false);
    client.send(Level::OneRtt, frames).await;
    let frames = stream(0, half as u64, &request[half..], true);
    client.send(Level::OneRtt, frames).await;
    arrives(&mut client, &upstream, "/after-nothing").await;
}

/// Row 30: what flow control and stream limits forbid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_30_limits_hold() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let target = gateway.target();
    let twice = [stream(0, 0, b"ab", true), stream(0, 2, b"c", false)].concat();
    let cases = [
        (
            "a stream too many",
            stream(4 * 4_000, 0, b"a", false),
            STREAM_LIMIT_ERROR,
        ),
        (
            "beyond a stream's window",
            stream(0, STREAM_WINDOW, b"a", false),
            FLOW_CONTROL_ERROR,
        ),
        ("beyond the end", twice, FINAL_SIZE_ERROR),
    ];
    for (what, frames, code) in cases {
        let mut client = established(&target).await;
        client.fire(Level::OneRtt, frames).await;
        let close = client.closed(Duration::from_secs(10)).await;
        assert_eq!(close.map(|close| close.code), Some(code), "{what}");
    }
}
