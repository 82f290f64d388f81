//! Bodies of any size pass whole, and what one side does not take, the other may not push.

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use serde_json::json;
use tidegate_tests::{
    Body, Download, Gateway, H3, Payload, RawUpstream, Relay, Reply, Tcp, Upstream, Wire,
    eventually, heavy, sha256_hex, stream_body,
};

const LARGE: u64 = 100 * 1024 * 1024;
/// What sockets, windows and pools between two ends may hold of a body that nobody reads:
/// loopback TCP grows its buffers to 6 MiB each way.
const MOST_BUFFERED: u64 = 24 * 1024 * 1024;
/// A number that did not change for so long has stopped.
const STILL: Duration = Duration::from_secs(2);

/// The value at which `count` stays.
async fn settled(what: &str, count: impl Fn() -> u64) -> u64 {
    let (mut last, mut since) = (count(), Instant::now());
    eventually(what, || {
        let now = count();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        let value = (since.elapsed() >= STILL && now > 0).then_some(now);
        async move { value }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_come_down_over_http3() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    let request = client.request("GET", &format!("/bytes/{LARGE}"));
    let (head, download, _) = client
        .exchange(request, Payload::of(0).stream())
        .await
        .expect("it comes whole");
    assert_eq!(head.status(), 200);
    assert_eq!(
        download,
        Download {
            length: LARGE,
            sha256: Payload::of(LARGE).sha256()
        }
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_go_up_over_http3() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    let body = Payload::of(LARGE).stream();
    let (head, _, _) = client
        .exchange(client.request("POST", "/upload"), body)
        .await
        .expect("it goes whole");
    assert_eq!(head.status(), 200);
    let seen = upstream
        .seen_at("/upload")
        .remove(0)
        .body
        .expect("the upstream read it");
    assert_eq!(
        (seen.length, seen.sha256, seen.broken),
        (LARGE, Payload::of(LARGE).sha256(), false)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_pass_both_ways_at_once_over_http3() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    let body = Payload::of(LARGE).stream();
    let (_, download, _) = client
        .exchange(client.request("POST", "/mirror"), body)
        .await
        .expect("it passes");
    assert_eq!(
        download,
        Download {
            length: LARGE,
            sha256: Payload::of(LARGE).sha256()
        }
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_pass_each_way_over_http2() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.h2().await;
    let body = stream_body(Payload::of(LARGE).stream());
    let answer = client
        .send(client.request("POST", "/upload", body))
        .await
        .expect("it goes whole");
    assert_eq!(answer.json()["sha256"], Payload::of(LARGE).sha256());
    let answer = client.get(&format!("/bytes/{LARGE}")).await;
    assert_eq!(
        (answer.body.len() as u64, sha256_hex(&answer.body)),
        (LARGE, Payload::of(LARGE).sha256())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_awkward_sizes_pass_over_every_protocol() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let (h3, mut h2, mut h1) = (gateway.h3().await, gateway.h2().await, gateway.h1().await);
    for length in [0, 1, 1199, 1350, 16_383, 16_384, 65_535, 65_537, 1_000_003] {
        let path = format!("/bytes/{length}");
        let expected = Payload::of(length).sha256();
        for answer in [
            h3.get(&path).await,
            h2.get(&path).await,
            h1.get(&path).await,
        ] {
            assert_eq!(
                sha256_hex(&answer.body),
                expected,
                "{length} over {:?}",
                answer.version
            );
        }
        let piece: Vec<u8> = Payload::of(length).pieces().flatten().collect();
        let answer = h3
            .send(h3.request("POST", "/"), piece.into())
            .await
            .expect("it goes");
        assert_eq!(answer.json()["sha256"], expected, "{length} up over HTTP/3");
        for client in [&mut h2, &mut h1] {
            let body = stream_body(Payload::of(length).stream());
            let answer = client
                .send(client.request("POST", "/", body))
                .await
                .expect("it goes");
            assert_eq!(
                answer.json()["sha256"],
                expected,
                "{length} up over {:?}",
                answer.version
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_stalls_the_upstream() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    let mut stream = client
        .open(client.request("GET", "/endless"))
        .await
        .expect("it begins");
    stream.finish().await.expect("it has no body");
    stream.recv_response().await.expect("it is answered");
    let stalled_at = settled("the upstream stalls", || upstream.produced()).await;
    assert!(
        stalled_at < MOST_BUFFERED,
        "{stalled_at} bytes for a client that reads none"
    );

    // Others go on, and so does this one when it reads again.
    assert_eq!(client.get("/hello").await.status, 200);
    let mut read = 0;
    while read < 2 * MOST_BUFFERED {
        read += stream
            .recv_data()
            .await
            .expect("it flows")
            .expect("it has no end")
            .remaining() as u64;
    }
    assert!(upstream.produced() > stalled_at);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_client_that_stops_reading_stalls_the_upstream() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.h2().await;
    let request = client.request("GET", "/endless", tidegate_tests::empty());
    let mut body = client
        .begin(request)
        .await
        .expect("it is answered")
        .into_body();
    let stalled_at = settled("the upstream stalls", || upstream.produced()).await;
    assert!(
        stalled_at < MOST_BUFFERED,
        "{stalled_at} bytes for a client that reads none"
    );
    assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_does_not_read_stalls_the_client() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let relay = Relay::to(gateway.https).await;
    let client = H3::connect(&gateway.target().at(relay.address)).await;
    let mut stream = client
        .open(client.request("POST", "/never"))
        .await
        .expect("it begins");
    let mut pieces = Payload::of(u64::MAX).stream();
    let push = tokio::spawn(async move {
        while let Some(piece) = pieces.next().await {
            if stream.send_data(piece).await.is_err() {
                break;
            }
        }
    });
    eventually("the request reaches the upstream", || async {
        (upstream.active() == 1).then_some(())
    })
    .await;
    let taken = settled("the client stalls", || relay.bytes_up()).await;
    assert!(
        taken < MOST_BUFFERED,
        "the gateway took {taken} bytes for an upstream that reads none"
    );
    assert!(!push.is_finished(), "it stalls and does not fail");
    push.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_cancels_its_requests_upstream() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    let mut never = client
        .open(client.request("GET", "/never"))
        .await
        .expect("it begins");
    never.finish().await.expect("it has no body");
    eventually("the request is under way", || async {
        (upstream.active() == 1).then_some(())
    })
    .await;
    drop(never);
    drop(client);
    eventually("the upstream hears of it", || async {
        (upstream.cancelled() == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_stream_is_cancelled_upstream_and_alone() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    let mut stream = client
        .open(client.request("GET", "/endless"))
        .await
        .expect("it begins");
    stream.finish().await.expect("it has no body");
    stream.recv_response().await.expect("it is answered");
    stream.stop_sending(h3::error::Code::H3_REQUEST_CANCELLED);
    eventually("the upstream hears of it", || async {
        (upstream.cancelled() == 1).then_some(())
    })
    .await;
    assert_eq!(
        client.get("/hello").await.status,
        200,
        "the connection lives on"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_without_a_word_is_forgotten() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let relay = Relay::to(gateway.https).await;
    let mut transport = quinn::TransportConfig::default();
    // RFC 9000 10.1: the shorter of both ends' time-outs counts.
    transport.max_idle_timeout(Some(quinn::VarInt::from_u32(2000).into()));
    let target = gateway.target().at(relay.address);
    let client = H3::connect_with(&target, transport)
        .await
        .expect("it connects");
    let mut stream = client
        .open(client.request("GET", "/endless"))
        .await
        .expect("it begins");
    stream.finish().await.expect("it has no body");
    stream.recv_response().await.expect("it is answered");
    let id = gateway.admin().id_from(relay.sources()[0]).await;
    relay.cut();
    eventually("the upstream hears of it", || async {
        (upstream.cancelled() == 1).then_some(())
    })
    .await;
    let record = gateway.admin().audited(&id).await;
    assert_eq!(record["audit"]["closed_by"], "idle_timeout");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tcp_client_that_goes_away_cancels_its_requests_upstream() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    for (count, wire) in [(1, Wire::H1), (2, Wire::H2)] {
        let mut client = Tcp::connect(&gateway.target(), wire).await;
        let request = client.request("GET", "/endless", tidegate_tests::empty());
        let response = client.begin(request).await.expect("it is answered");
        drop((response, client));
        eventually("the upstream hears of it", || async {
            (upstream.cancelled() == count).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_breaks_upstream_never_looks_whole() {
    let reply = |head: &str| {
        Reply::Close(match head.split(' ').nth(1) {
            Some("/length") => {
                b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n0123456789".to_vec()
            }
            Some("/chunked") => {
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n".to_vec()
            }
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec(),
        })
    };
    let upstream = RawUpstream::start(reply).await;
    let gateway = Gateway::builder()
        .start_with(|folder| {
            folder.service("app", &[upstream.address]);
            folder.route(
                "app",
                &[],
                &json!([{"backendRefs": [{"name": "app", "port": 80}]}]),
            );
        })
        .await;
    let client = gateway.h3().await;
    for path in ["/length", "/chunked"] {
        let answer = client.send(client.request("GET", path), Bytes::new()).await;
        assert!(answer.is_err(), "{path}: {answer:?}");
        assert_eq!(
            client.get("/whole").await.status,
            200,
            "only that stream is reset"
        );
        for wire in [Wire::H1, Wire::H2] {
            let mut client = Tcp::connect(&gateway.target(), wire).await;
            let request = client.request("GET", path, tidegate_tests::empty());
            let answer = client.send(request).await;
            assert!(answer.is_err(), "{path} over {wire:?}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_breaks_on_its_way_up_never_looks_whole() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    let mut stream = client
        .open(client.request("POST", "/upload"))
        .await
        .expect("it begins");
    stream
        .send_data(Bytes::from_static(b"half"))
        .await
        .expect("it flows");
    eventually("the request is under way", || async {
        (upstream.active() == 1).then_some(())
    })
    .await;
    stream.stop_stream(h3::error::Code::H3_REQUEST_CANCELLED);
    let broken = |body: Option<_>| body.is_some_and(|body: tidegate_tests::SeenBody| body.broken);
    eventually("the upstream sees a broken body", || async {
        let seen = upstream.seen_at("/upload").remove(0);
        (broken(seen.body) || upstream.cancelled() == 1).then_some(())
    })
    .await;
    let whole = |body: &tidegate_tests::SeenBody| !body.broken;
    assert!(
        !upstream
            .seen_at("/upload")
            .remove(0)
            .body
            .as_ref()
            .is_some_and(whole)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunked_http1_uploads_keep_their_end() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.h1().await;
    let body: Body = stream_body(futures_util::stream::iter([
        Bytes::from_static(b"a"),
        Bytes::from_static(b"bc"),
    ]));
    let answer = client
        .send(client.request("POST", "/", body))
        .await
        .expect("it goes");
    assert_eq!(
        (&answer.json()["length"], &answer.json()["sha256"]),
        (&3.into(), &sha256_hex(b"abc").into())
    );
}
