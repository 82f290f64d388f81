//! Violations of QUIC and HTTP/3 close the connection with the codes of RFC 9000 and RFC 9114, and
//! what those say to ignore is ignored. More of them are among the cases of `tests/interop`.

use std::time::Duration;

use h3i::actions::h3::{
    Action, ExpectedStreamSendResult, StreamEvent, StreamEventType, WaitType, send_headers_frame,
};
use tidegate_tests::{
    Gateway, Upstream, attack, data_frame,
    raw::{RawClient, Twist},
    request_fields, stream_bytes,
};

/// RFC 9000 20.1.
const TRANSPORT_PARAMETER_ERROR: u64 = 0x08;
/// RFC 9114 8.1 and RFC 9204 8.3.
const STREAM_CREATION_ERROR: u64 = 0x103;
const CLOSED_CRITICAL_STREAM: u64 = 0x104;
const FRAME_UNEXPECTED: u64 = 0x105;
const QPACK_DECOMPRESSION_FAILED: u64 = 0x200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protocol_errors_close_the_connection_with_their_code() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let target = gateway.target();
    let uni = |stream_id, stream_type| Action::OpenUniStream {
        stream_id,
        fin_stream: false,
        stream_type,
        expected_result: ExpectedStreamSendResult::Ok,
    };
    // Nothing answers on stream 0, so that only the connection's end ends the wait.
    let open = || send_headers_frame(0, false, request_fields(&target, "POST", "/case", &[]));
    let cases = [
        (
            "DATA before HEADERS",
            vec![data_frame(b"four", true)],
            FRAME_UNEXPECTED,
        ),
        (
            "a second control stream",
            vec![open(), uni(6, 0)],
            STREAM_CREATION_ERROR,
        ),
        (
            "a push stream from a client",
            vec![open(), uni(6, 1)],
            STREAM_CREATION_ERROR,
        ),
        (
            "the control stream ends",
            vec![open(), stream_bytes(2, b"", true)],
            CLOSED_CRITICAL_STREAM,
        ),
        (
            "SETTINGS twice",
            vec![open(), stream_bytes(2, &[0x04, 0x00], false)],
            FRAME_UNEXPECTED,
        ),
        (
            "SETTINGS on a request stream",
            vec![stream_bytes(0, &[0x04, 0x00], false)],
            FRAME_UNEXPECTED,
        ),
        (
            "DATA on the control stream",
            vec![open(), stream_bytes(2, &[0x00, 0x01, 0x41], false)],
            FRAME_UNEXPECTED,
        ),
        (
            "PUSH_PROMISE from a client",
            vec![open(), stream_bytes(0, &[0x05, 0x02, 0x00, 0x00], false)],
            FRAME_UNEXPECTED,
        ),
        (
            "HTTP/2's PRIORITY",
            vec![open(), stream_bytes(0, &[0x02, 0x00], false)],
            FRAME_UNEXPECTED,
        ),
        (
            "HTTP/2's PING on the control stream",
            vec![open(), stream_bytes(2, &[0x06, 0x00], false)],
            FRAME_UNEXPECTED,
        ),
        (
            "a section that cannot be decoded",
            vec![stream_bytes(0, &[0x01, 0x03, 0xff, 0xff, 0xff], true)],
            QPACK_DECOMPRESSION_FAILED,
        ),
        (
            "a second QPACK encoder stream",
            vec![open(), uni(6, 2), uni(10, 2)],
            STREAM_CREATION_ERROR,
        ),
    ];
    for (what, actions, code) in cases {
        let run = attack(&target, actions, &[0]).await;
        assert_eq!(run.closed(), Some(code), "{what}: {run:?}");
    }
    assert_eq!(gateway.h3().await.get("/honest").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_any_transport_parameter_is_closed() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let target = gateway.target();
    let tls = target.tls.clone().expect("it has TLS");
    let twist = Twist {
        parameters: |all| all.clear(),
        ..Twist::default()
    };
    let mut client = RawClient::begin(&target, tls, twist).await;
    let close = client.closed(Duration::from_secs(20)).await;
    let close = close.expect("it is closed");
    assert_eq!(close.code, TRANSPORT_PARAMETER_ERROR, "{close:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_sections_beyond_the_limit_are_refused() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let target = gateway.target();
    let names: Vec<String> = (0..300).map(|index| format!("x-{index}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let run = attack(
        &target,
        vec![send_headers_frame(
            0,
            true,
            request_fields(&target, "GET", "/case", &many),
        )],
        &[0],
    )
    .await;
    assert!(
        run.status(0).is_some_and(|status| status == 431)
            || run.reset(0).is_some()
            || run.closed().is_some(),
        "{run:?}"
    );
    assert!(upstream.seen_at("/case").is_empty());
    assert_eq!(gateway.h3().await.get("/honest").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_frames_and_streams_are_ignored() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let target = gateway.target();
    let headers = request_fields(&target, "POST", "/honest", &[]);
    let wait = WaitType::StreamEvent(StreamEvent {
        stream_id: 0,
        event_type: StreamEventType::Finished,
    });
    let grease = [0x21, 0x03, 1, 2, 3];
    let actions = vec![
        Action::OpenUniStream {
            stream_id: 6,
            fin_stream: false,
            stream_type: 0x21,
            expected_result: ExpectedStreamSendResult::Ok,
        },
        stream_bytes(6, b"anything", false),
        // It ends amid its type, of which there are eight bytes.
        stream_bytes(10, &[0xe7], true),
        stream_bytes(2, &grease, false),
        stream_bytes(0, &grease, false),
        send_headers_frame(0, false, headers),
        stream_bytes(0, &grease, false),
        data_frame(b"four", true),
        wait.into(),
    ];
    let run = attack(&target, actions, &[]).await;
    assert_eq!((run.status(0), run.closed()), (Some(200), None), "{run:?}");
    assert_eq!(
        upstream.seen_at("/honest")[0]
            .body
            .as_ref()
            .map(|body| body.length),
        Some(4)
    );
}
