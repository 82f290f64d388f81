//! What one client sends never becomes part of another's request: an upstream sees exact
//! framing or nothing.

use h3i::actions::h3::{Action, send_headers_frame, send_headers_frame_literal};
use tidegate_tests::{
    Gateway, HostileRun, Target, Upstream, attack, data_frame, eventually, fields, request_fields,
    stream_bytes,
};

/// RFC 9114 8.1.
const MESSAGE_ERROR: u64 = 0x10e;

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
                data_frame(b"four", true),
            ],
        ),
        (
            "less than was sent",
            vec![
                request(&target, &[("content-length", "2")], false),
                data_frame(hidden, true),
            ],
        ),
        (
            "zero, and a request behind",
            vec![
                request(&target, &[("content-length", "0")], false),
                data_frame(hidden, true),
            ],
        ),
        (
            "some, and the end in the head",
            vec![request(&target, &[("content-length", "44")], true)],
        ),
        (
            "some, and the end alone",
            vec![
                request(&target, &[("content-length", "44")], false),
                stream_bytes(0, b"", true),
            ],
        ),
        (
            "two that differ",
            vec![
                request(
                    &target,
                    &[("content-length", "4"), ("content-length", "44")],
                    false,
                ),
                data_frame(b"four", true),
            ],
        ),
        (
            "two in one field",
            vec![
                request(&target, &[("content-length", "4, 44")], false),
                data_frame(b"four", true),
            ],
        ),
        (
            "a sign",
            vec![
                request(&target, &[("content-length", "+4")], false),
                data_frame(b"four", true),
            ],
        ),
        (
            "negative",
            vec![
                request(&target, &[("content-length", "-4")], false),
                data_frame(b"four", true),
            ],
        ),
        (
            "hexadecimal",
            vec![
                request(&target, &[("content-length", "0x4")], false),
                data_frame(b"four", true),
            ],
        ),
        (
            "empty",
            vec![
                request(&target, &[("content-length", "")], false),
                data_frame(b"four", true),
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
                data_frame(b"four", true),
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
            data_frame(b"four", false),
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
        data_frame(b"four", true),
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
