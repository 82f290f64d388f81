//! Streams of one connection: many at once, trailers, and informational responses.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use http::HeaderMap;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use tidegate_tests::{
    Gateway, H3, RawUpstream, Reply, Upstream, attack, eventually, request_fields, within,
};

fn checksum() -> HeaderMap {
    HeaderMap::from_iter([(
        "x-checksum".parse().expect("a name"),
        "abc".parse().expect("a value"),
    )])
}

async fn with_h2c(upstream: &Upstream) -> Gateway {
    let fill = |folder: &tidegate_tests::Folder| {
        folder.service_with("app", &[upstream.address], Some("kubernetes.io/h2c"));
        folder.route(
            "app",
            &[],
            &json!([{"backendRefs": [{"name": "app", "port": 80}]}]),
        );
    };
    Gateway::builder().start_with(fill).await
}

async fn with_raw(upstream: &RawUpstream) -> Gateway {
    let fill = |folder: &tidegate_tests::Folder| {
        folder.service("app", &[upstream.address]);
        folder.route(
            "app",
            &[],
            &json!([{"backendRefs": [{"name": "app", "port": 80}]}]),
        );
    };
    Gateway::builder().start_with(fill).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_requests_run_at_once_on_one_connection() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    let all = join_all((0..100).map(|index| {
        let path = format!("/gate/all?{index}");
        let client = &client;
        async move { client.get(&path).await.status }
    }));
    let release = async {
        eventually("all are under way at once", || async {
            (upstream.active() == 100).then_some(())
        })
        .await;
        let facts = gateway
            .admin()
            .connection_from(client.local_address())
            .await;
        assert_eq!(facts["requests_active"], 100);
        upstream.open("all");
    };
    let (statuses, ()) = tokio::join!(all, release);
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let facts = gateway
        .admin()
        .connection_from(client.local_address())
        .await;
    assert_eq!(
        (&facts["requests"], &facts["requests_active"]),
        (&100.into(), &0.into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_like_trailers_pass_both_ways_over_http3() {
    let upstream = Upstream::start().await;
    let gateway = with_h2c(&upstream).await;
    let client = gateway.h3().await;
    let mut request = client.request("POST", "/mirror");
    request
        .headers_mut()
        .insert("content-type", "application/grpc".parse().expect("a value"));
    request
        .headers_mut()
        .insert("te", "trailers".parse().expect("a value"));
    let mut stream = client.open(request).await.expect("it begins");
    stream
        .send_data(Bytes::from_static(b"message"))
        .await
        .expect("it flows");
    stream.send_trailers(checksum()).await.expect("they go");
    stream.finish().await.expect("it ends");
    let answer = H3::read(&mut stream).await.expect("it is answered");
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (200, &b"message"[..])
    );
    assert_eq!(
        answer.trailers["grpc-status"], "0",
        "the upstream's own trailer"
    );
    assert_eq!(
        answer.trailers["x-checksum"], "abc",
        "the client's trailer, sent back"
    );
    assert_eq!(upstream.seen()[0].headers["te"], "trailers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_like_trailers_pass_both_ways_over_http2() {
    let upstream = Upstream::start().await;
    let gateway = with_h2c(&upstream).await;
    let mut client = gateway.h2().await;
    let frames = [
        Ok(Frame::data(Bytes::from_static(b"message"))),
        Ok(Frame::trailers(checksum())),
    ];
    let body = StreamBody::new(stream::iter(frames)).boxed_unsync();
    let answer = client
        .send(client.request("POST", "/mirror", body))
        .await
        .expect("it is answered");
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (200, &b"message"[..])
    );
    assert_eq!(
        (
            &answer.trailers["grpc-status"],
            &answer.trailers["x-checksum"]
        ),
        (
            &"0".parse().expect("a value"),
            &"abc".parse().expect("a value")
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_pass_while_the_stream_is_open_both_ways() {
    let upstream = Upstream::start().await;
    let gateway = with_h2c(&upstream).await;
    let client = gateway.h3().await;
    let stream = client
        .open(client.request("POST", "/mirror"))
        .await
        .expect("it begins");
    let (mut send, mut receive) = stream.split();
    send.send_data(Bytes::from_static(b"0"))
        .await
        .expect("it flows");
    receive
        .recv_response()
        .await
        .expect("the head comes before the request's end");
    for turn in 1..20u8 {
        let mut echo = receive
            .recv_data()
            .await
            .expect("it flows")
            .expect("it has not ended");
        assert_eq!(
            bytes::Buf::get_u8(&mut echo),
            if turn == 1 { b'0' } else { turn - 1 }
        );
        send.send_data(vec![turn].into()).await.expect("it flows");
    }
    send.finish().await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_of_an_http1_upstream_reach_the_client() {
    let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-digest\r\n\r\n\
        2\r\nok\r\n0\r\nx-digest: 77\r\n\r\n";
    let upstream = RawUpstream::start(|_| Reply::Keep(answer.to_vec())).await;
    let gateway = with_raw(&upstream).await;
    let answer = gateway.h3().await.get("/").await;
    assert_eq!(
        (&answer.body[..], &answer.trailers["x-digest"]),
        (&b"ok"[..], &"77".parse().expect("a value"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn early_hints_come_before_the_response() {
    let answer = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n\
        HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let upstream = RawUpstream::start(|_| Reply::Keep(answer.to_vec())).await;
    let gateway = with_raw(&upstream).await;
    let target = gateway.target();
    let headers = request_fields(&target, "GET", "/", &[]);
    let run = attack(
        &target,
        vec![h3i::actions::h3::send_headers_frame(0, true, headers)],
        &[0],
    )
    .await;
    assert_eq!(run.statuses(0), [103, 200], "{run:?}");
    let hints = &run.sections(0)[0];
    assert!(
        hints.contains(&("link".to_owned(), "</style.css>; rel=preload".to_owned())),
        "{hints:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_expects_100_continue_gets_it() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let target = gateway.target();
    let headers = request_fields(
        &target,
        "POST",
        "/",
        &[("expect", "100-continue"), ("content-length", "4")],
    );
    let wait = h3i::actions::h3::WaitType::StreamEvent(h3i::actions::h3::StreamEvent {
        stream_id: 0,
        event_type: h3i::actions::h3::StreamEventType::Headers,
    });
    let data = h3i::actions::h3::Action::SendFrame {
        stream_id: 0,
        fin_stream: true,
        frame: quiche::h3::frame::Frame::Data {
            payload: b"body".to_vec(),
        },
        expected_result: Default::default(),
    };
    let actions = vec![
        h3i::actions::h3::send_headers_frame(0, false, headers),
        wait.into(),
        data,
    ];
    let run = attack(&target, actions, &[0]).await;
    assert_eq!(run.statuses(0), [100, 200], "{run:?}");
    assert_eq!(
        upstream.seen()[0].body.as_ref().map(|body| body.length),
        Some(4)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_beyond_the_limit_wait_for_their_turn() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    let requests = stream::iter(0..1000)
        .map(|_| async { client.get("/bytes/100").await.status })
        .buffer_unordered(300);
    let statuses: Vec<_> = requests.collect().await;
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        1000
    );
}

/// Most clients send the end of a request without content in a packet of its own, which an answer
/// may be faster than.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answered_request_without_content_may_end_later() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = H3::connect(&gateway.target()).await;
    let mut stream = client
        .open(client.request("GET", "/bytes/100"))
        .await
        .expect("it can be sent");
    let answer = within("the answer comes", H3::read(&mut stream)).await;
    assert_eq!(answer.expect("it is whole").status, 200);
    tokio::time::sleep(Duration::from_millis(300)).await;
    stream.finish().await.expect("nobody has refused the end");
}
