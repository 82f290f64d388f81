//! What one client sends never becomes part of another's request: an upstream sees exact
//! framing or nothing, and protocol errors have the codes of RFC 9114.

use h3i::{
    actions::h3::{
        Action, ExpectedStreamSendResult, StreamEvent, StreamEventType, WaitType,
        send_headers_frame, send_headers_frame_literal,
    },
    quiche::h3::frame::Frame,
};
use tidegate_tests::{
    Gateway, HostileRun, Target, Upstream, attack, eventually, fields, request_fields,
};

const FRAME_UNEXPECTED: u64 = 0x105;
const STREAM_CREATION_ERROR: u64 = 0x103;
const CLOSED_CRITICAL_STREAM: u64 = 0x104;
const MESSAGE_ERROR: u64 = 0x10e;
const QPACK_DECOMPRESSION_FAILED: u64 = 0x200;

fn data(payload: &[u8], fin_stream: bool) -> Action {
    Action::SendFrame {
        stream_id: 0,
        fin_stream,
        frame: Frame::Data {
            payload: payload.to_vec(),
        },
        expected_result: ExpectedStreamSendResult::Ok,
    }
}

fn bytes(stream_id: u64, bytes: &[u8], fin_stream: bool) -> Action {
    Action::StreamBytes {
        stream_id,
        fin_stream,
        bytes: bytes.to_vec(),
        expected_result: ExpectedStreamSendResult::Ok,
    }
}

fn fin(stream_id: u64) -> Action {
    bytes(stream_id, b"", true)
}

/// The request was refused: as malformed, or with a status that says so.
#[track_caller]
fn refused(what: &str, run: &HostileRun) {
    let status = run
        .status(0)
        .is_some_and(|status| (400..500).contains(&status));
    let message_error = [run.reset(0), run.closed()].contains(&Some(MESSAGE_ERROR));
    assert!(status || message_error, "{what}: {run:?}");
}

/// Nothing whole reached the upstream under `path`, and others' requests are undisturbed.
async fn undisturbed(what: &str, gateway: &Gateway, upstream: &Upstream, path: &str) {
    eventually("the upstream is at rest", || async {
        (upstream.active() == 0).then_some(())
    })
    .await;
    for seen in upstream.seen_at(path) {
        assert!(
            seen.body.is_none_or(|body| body.broken),
            "{what}: a malformed request arrived whole"
        );
    }
    let honest = format!("/honest{path}");
    let answer = gateway.h3().await.get(&honest).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["target"]),
        (200, &honest.as_str().into()),
        "{what}"
    );
    let strangers: Vec<_> = (upstream.seen().into_iter())
        .filter(|seen| !seen.target.starts_with("/honest") && !seen.target.starts_with("/case"))
        .collect();
    assert!(
        strangers.is_empty(),
        "{what}: the upstream saw {strangers:?}"
    );
}

async fn run_all(cases: Vec<(&str, Vec<Action>)>, gateway: &Gateway, upstream: &Upstream) {
    for (what, actions) in cases {
        let run = attack(&gateway.target(), actions, &[0]).await;
        refused(what, &run);
        undisturbed(what, gateway, upstream, "/case").await;
    }
}

fn request(target: &Target, more: &[(&str, &str)], end: bool) -> Action {
    send_headers_frame(0, end, request_fields(target, "POST", "/case", more))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_content_length_that_lies_is_refused() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let target = gateway.target();
    let hidden = b"GET /smuggled HTTP/1.1\r\nhost: site.test\r\n\r\n";
    let cases = vec![
        (
            "more than was sent",
            vec![
                request(&target, &[("content-length", "100")], false),
                data(b"four", true),
            ],
        ),
        (
            "less than was sent",
            vec![
                request(&target, &[("content-length", "2")], false),
                data(hidden, true),
            ],
        ),
        (
            "zero, and a request behind",
            vec![
                request(&target, &[("content-length", "0")], false),
                data(hidden, true),
            ],
        ),
        (
            "some, and the end in the head",
            vec![request(&target, &[("content-length", "44")], true)],
        ),
        (
            "some, and the end alone",
            vec![request(&target, &[("content-length", "44")], false), fin(0)],
        ),
        (
            "two that differ",
            vec![
                request(
                    &target,
                    &[("content-length", "4"), ("content-length", "44")],
                    false,
                ),
                data(b"four", true),
            ],
        ),
        (
            "two in one field",
            vec![
                request(&target, &[("content-length", "4, 44")], false),
                data(b"four", true),
            ],
        ),
        (
            "a sign",
            vec![
                request(&target, &[("content-length", "+4")], false),
                data(b"four", true),
            ],
        ),
        (
            "negative",
            vec![
                request(&target, &[("content-length", "-4")], false),
                data(b"four", true),
            ],
        ),
        (
            "hexadecimal",
            vec![
                request(&target, &[("content-length", "0x4")], false),
                data(b"four", true),
            ],
        ),
        (
            "empty",
            vec![
                request(&target, &[("content-length", "")], false),
                data(b"four", true),
            ],
        ),
        (
            "beyond 64 bits",
            vec![
                request(
                    &target,
                    &[("content-length", "18446744073709551620")],
                    false,
                ),
                data(b"four", true),
            ],
        ),
    ];
    run_all(cases, &gateway, &upstream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_belong_to_a_connection_are_refused() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let target = gateway.target();
    let cases = [
        ("transfer-encoding", "chunked"),
        ("connection", "keep-alive"),
        ("connection", "x-a"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
    ];
    let cases = cases
        .into_iter()
        .map(|field| (field.0, vec![request(&target, &[field], true)]));
    run_all(cases.collect(), &gateway, &upstream).await;
    let run = attack(
        &target,
        vec![request(&target, &[("te", "trailers")], true)],
        &[0],
    )
    .await;
    assert_eq!(run.status(0), Some(200), "this one is allowed: {run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_no_message_may_have_are_refused() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let target = gateway.target();
    let literal = |more: &[(&str, &str)]| {
        vec![send_headers_frame_literal(
            0,
            true,
            request_fields(&target, "GET", "/case", more),
        )]
    };
    let cases = vec![
        ("an upper-case name", literal(&[("X-Upper", "1")])),
        ("a space in a name", literal(&[("x a", "1")])),
        ("an empty name", literal(&[("", "1")])),
        ("a colon in a name", literal(&[("x:a", "1")])),
        ("a line break in a name", literal(&[("x\r\nx-b", "1")])),
        (
            "CR LF in a value",
            literal(&[("x-a", "1\r\nx-injected: 2")]),
        ),
        ("LF in a value", literal(&[("x-a", "1\nx-injected: 2")])),
        ("NUL in a value", literal(&[("x-a", "1\x002")])),
        (
            "CR LF in a path",
            vec![send_headers_frame_literal(
                0,
                true,
                request_fields(
                    &target,
                    "GET",
                    "/case HTTP/1.1\r\nx-injected: 2\r\n\r\nGET /smuggled",
                    &[],
                ),
            )],
        ),
        (
            "a space in a path",
            vec![send_headers_frame_literal(
                0,
                true,
                request_fields(&target, "GET", "/case x", &[]),
            )],
        ),
        (
            "CR LF in a method",
            vec![send_headers_frame_literal(
                0,
                true,
                request_fields(&target, "GET /smuggled HTTP/1.1\r\n\r\nGET", "/case", &[]),
            )],
        ),
    ];
    run_all(cases, &gateway, &upstream).await;
    for raw in upstream.raw() {
        assert!(
            !String::from_utf8_lossy(&raw).contains("injected"),
            "{}",
            String::from_utf8_lossy(&raw)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pseudo_header_fields_must_be_complete_and_first() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let authority = format!("site.test:{}", gateway.https.port());
    let whole = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", authority.as_str()),
        (":path", "/case"),
    ];
    let without = |name: &str| -> Vec<(&str, &str)> {
        whole.into_iter().filter(|field| field.0 != name).collect()
    };
    let with = |field| whole.into_iter().chain([field]).collect::<Vec<_>>();
    let with_path = |path| {
        without(":path")
            .into_iter()
            .chain([(":path", path)])
            .collect::<Vec<_>>()
    };
    let late = vec![whole[0], whole[1], whole[2], ("x-a", "1"), whole[3]];
    let cases = [
        ("no :method", without(":method")),
        ("no :scheme", without(":scheme")),
        ("no :path", without(":path")),
        ("no :authority and no host", without(":authority")),
        ("an empty :path", with_path("")),
        ("a relative :path", with_path("case")),
        ("two of :path", with((":path", "/other"))),
        ("two of :method", with((":method", "POST"))),
        ("two of :authority", with((":authority", "other.test"))),
        ("an unknown one", with((":secret", "1"))),
        (":status", with((":status", "200"))),
        (
            ":protocol without CONNECT",
            with((":protocol", "websocket")),
        ),
        ("one after a field", late),
        ("another host", with(("host", "other.test"))),
    ];
    let cases = cases
        .into_iter()
        .map(|(what, all)| (what, vec![send_headers_frame(0, true, fields(&all))]));
    run_all(cases.collect(), &gateway, &upstream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_cannot_change_the_message() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let target = gateway.target();
    let with_trailers = |all: &[(&str, &str)]| {
        vec![
            request(&target, &[], false),
            data(b"four", false),
            send_headers_frame(0, true, fields(all)),
        ]
    };
    let cases = vec![
        (
            "a pseudo-header field",
            with_trailers(&[(":path", "/other")]),
        ),
        (
            "transfer-encoding",
            with_trailers(&[("transfer-encoding", "chunked")]),
        ),
        ("connection", with_trailers(&[("connection", "close")])),
    ];
    run_all(cases, &gateway, &upstream).await;

    // Fields that frame a message are either refused or dropped, never passed on.
    let run = attack(
        &target,
        with_trailers(&[("content-length", "44"), ("host", "other.test")]),
        &[0],
    )
    .await;
    if run.status(0) != Some(200) {
        refused("content-length", &run);
    }
    for seen in upstream.seen_at("/case") {
        let trailers = seen.body.unwrap_or_default().trailers;
        assert!(
            !trailers.contains_key("content-length") && !trailers.contains_key("host"),
            "{trailers:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upstream_sees_the_framing_that_the_gateway_made() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().shards(1).start(&upstream).await;
    let target = gateway.target();
    let actions = vec![
        request(&target, &[("content-length", "4")], false),
        data(b"four", true),
    ];
    assert_eq!(attack(&target, actions, &[0]).await.status(0), Some(200));
    let raw = String::from_utf8(upstream.raw().remove(0)).expect("the head is text");
    let (head, body) = raw.split_once("\r\n\r\n").expect("a head ends");
    assert!(head.starts_with("POST /case HTTP/1.1\r\n"), "{raw}");
    let head = head.to_ascii_lowercase();
    assert_eq!(head.matches("\r\ncontent-length: 4").count(), 1, "{raw}");
    assert!(!head.contains("transfer-encoding"), "{raw}");
    assert_eq!(body, "four");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_requests_with_two_lengths_are_refused() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let hidden = "GET /smuggled HTTP/1.1\r\nhost: site.test\r\n\r\n";
    let length = hidden.len();
    for (what, request) in [
        (
            "content-length and chunked",
            format!(
                "content-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
            ),
        ),
        (
            "two lengths",
            format!("content-length: 0\r\ncontent-length: {length}\r\n\r\n{hidden}"),
        ),
        (
            "two lengths in one",
            format!("content-length: 0, {length}\r\n\r\n{hidden}"),
        ),
        (
            "chunked twice",
            format!("transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "chunked not last",
            format!("transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "a space before the colon",
            format!("content-length : {length}\r\n\r\n{hidden}"),
        ),
        (
            "a folded line",
            format!("x-a: 1\r\n content-length: {length}\r\n\r\n{hidden}"),
        ),
        (
            "a chunk size that is none",
            format!("transfer-encoding: chunked\r\n\r\n-1\r\n{hidden}"),
        ),
        (
            "a chunk size too large",
            format!("transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{hidden}"),
        ),
        ("no host", "x-a: 1\r\n\r\n".to_owned()),
        (
            "two hosts",
            "host: a.test\r\nhost: b.test\r\n\r\n".to_owned(),
        ),
    ] {
        let host = if what.contains("host") {
            ""
        } else {
            "host: site.test\r\n"
        };
        let text = format!("POST /case HTTP/1.1\r\n{host}{request}");
        let answer = speak(gateway.http, &text).await;
        let statuses: Vec<_> = answer.matches("HTTP/1.1 ").collect();
        // hyper treats content-length beside chunked as RFC 9112 6.1 allows: chunked wins, and
        // the connection ends. What follows must not be served in any case.
        assert!(statuses.len() <= 1, "{what}: {answer}");
        let refused = answer.is_empty()
            || answer.starts_with("HTTP/1.1 4")
            || answer.starts_with("HTTP/1.1 5");
        assert!(
            refused || what == "content-length and chunked",
            "{what}: {answer}"
        );
        assert!(upstream.seen_at("/smuggled").is_empty(), "{what}: {answer}");
        let raw: Vec<String> = upstream
            .raw()
            .iter()
            .map(|raw| String::from_utf8_lossy(raw).into_owned())
            .collect();
        assert!(
            !raw.iter().any(|raw| raw.contains("smuggled")),
            "{what}: {raw:?}"
        );
    }
}

/// Sends text and returns what comes until the end, or until the server has been silent.
async fn speak(address: std::net::SocketAddr, text: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("it listens");
    stream.write_all(text.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(
        std::time::Duration::from_secs(3),
        stream.read_to_end(&mut answer),
    )
    .await;
    String::from_utf8_lossy(&answer).into_owned()
}

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
            vec![data(b"four", true)],
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
            vec![open(), fin(2)],
            CLOSED_CRITICAL_STREAM,
        ),
        (
            "SETTINGS twice",
            vec![open(), bytes(2, &[0x04, 0x00], false)],
            FRAME_UNEXPECTED,
        ),
        (
            "SETTINGS on a request stream",
            vec![bytes(0, &[0x04, 0x00], false)],
            FRAME_UNEXPECTED,
        ),
        (
            "DATA on the control stream",
            vec![open(), bytes(2, &[0x00, 0x01, 0x41], false)],
            FRAME_UNEXPECTED,
        ),
        (
            "PUSH_PROMISE from a client",
            vec![open(), bytes(0, &[0x05, 0x02, 0x00, 0x00], false)],
            FRAME_UNEXPECTED,
        ),
        (
            "a section that cannot be decoded",
            vec![bytes(0, &[0x01, 0x03, 0xff, 0xff, 0xff], true)],
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
    undisturbed("many fields", &gateway, &upstream, "/case").await;
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
        bytes(6, b"anything", false),
        bytes(2, &grease, false),
        bytes(0, &grease, false),
        send_headers_frame(0, false, headers),
        bytes(0, &grease, false),
        data(b"four", true),
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
