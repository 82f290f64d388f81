//! Rows 18 to 20: HTTP/3's own frames, fields and streams.

use std::{net::Ipv4Addr, time::Duration};

use h3i::actions::h3::{
    Action, ExpectedStreamSendResult, StreamEvent, StreamEventType, WaitType, send_headers_frame,
};
use tidegate_tests::{
    Gateway, Seen, Upstream, attack, heavy,
    raw::{Bytes, Level, RawClient, Twist},
    request_fields, stream_bytes,
};

use super::{SLACK, apart, post, received, stream, taken};

/// RFC 9114 8.1 and RFC 9204.
const H3_NO_ERROR: u64 = 0x100;
const H3_CLOSED_CRITICAL_STREAM: u64 = 0x104;
const H3_EXCESSIVE_LOAD: u64 = 0x107;
const H3_STREAM_CREATION_ERROR: u64 = 0x103;
/// A DATA frame of four bytes.
const DATA: [u8; 6] = *b"\x00\x04four";

/// A header section of `count` references to the static table's largest entry: two bytes each,
/// 108 when decoded (RFC 9204, index 85).
fn bomb(count: usize) -> Vec<u8> {
    let mut section = vec![0, 0];
    for _ in 0..count {
        section.extend([0xff, 85 - 63]);
    }
    headers(&section)
}

/// A HEADERS frame.
fn headers(section: &[u8]) -> Vec<u8> {
    let head = Bytes::new().numbers(&[0x01, section.len() as u64]);
    head.bytes(section).done()
}

/// Sends all that a request stream carries.
async fn request(client: &mut RawClient, content: &[u8]) {
    let pieces = content.chunks(1_000).count();
    for (index, piece) in content.chunks(1_000).enumerate() {
        let offset = index as u64 * 1_000;
        let frames = stream(0, offset, piece, index + 1 == pieces);
        client.fire(Level::OneRtt, frames).await;
        if index % 16 == 15 {
            client.stay(Duration::from_millis(2)).await;
        }
    }
}

async fn established(gateway: &Gateway) -> RawClient {
    let target = gateway.target();
    let tls = target.tls.clone().expect("it has TLS");
    let mut client = RawClient::begin(&target, tls, Twist::default()).await;
    assert!(client.handshake(Duration::from_secs(10)).await);
    client
}

/// Row 18: 2 MB of header fields in 40 kB, and 10 MB in 180 kB, which is almost as long as a
/// section may be before it is decoded. Not even for a moment are they held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_18_header_bombs_close_the_connection_before_they_are_whole() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let mut gateway = apart().start(&upstream).await;
    let target = gateway.target();
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
    let before = gateway.dataplane_process().memory();
    gateway.dataplane_process().forget_peak();
    for fields in [20_000, 90_000].repeat(10) {
        let trailers = [post(&target, "/bomb"), DATA.to_vec(), bomb(fields)].concat();
        for content in [bomb(fields), trailers] {
            let mut client = established(&gateway).await;
            request(&mut client, &content).await;
            let close = client.closed(Duration::from_secs(10)).await;
            let code = close.map(|close| close.code);
            assert_eq!(code, Some(H3_EXCESSIVE_LOAD));
        }
    }
    let grown = gateway.dataplane_process().peak().saturating_sub(before);
    assert!(grown <= SLACK / 2, "{grown} bytes");
    let whole = |seen: &Seen| seen.body.as_ref().is_some_and(|body| !body.broken);
    assert!(!upstream.seen_at("/bomb").iter().any(whole));
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
}

/// Row 18: trailers have the limits that headers have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_18_trailers_beyond_the_limit_do_not_reach_the_upstream() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let target = gateway.target();
    let whole = |path: &str| {
        let seen = upstream.seen_at(path).pop();
        seen.and_then(|seen| seen.body)
            .is_some_and(|body| !body.broken)
    };
    // 54 kB of 500 fields, and 60 kB of one: more than a listener takes, less than what closes a
    // connection.
    let cases = [
        ("/short", long_trailer(200)),
        ("/many", bomb(500)),
        ("/long", long_trailer(60_000)),
    ];
    for (path, trailers) in cases {
        let mut client = established(&gateway).await;
        let content = [post(&target, path), DATA.to_vec(), trailers].concat();
        request(&mut client, &content).await;
        client.stay(Duration::from_millis(500)).await;
        assert_eq!(whole(path), path == "/short", "{path}");
    }
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
}

/// One trailer, `a`, of this length.
fn long_trailer(length: usize) -> Vec<u8> {
    let mut section = vec![0, 0, 0x21, b'a'];
    // The length with a prefix of seven bits (RFC 7541 5.1).
    section.push(0x7f);
    let mut rest = length - 127;
    while rest >= 128 {
        section.push(0x80 | (rest % 128) as u8);
        rest /= 128;
    }
    section.push(rest as u8);
    section.resize(section.len() + length, b'a');
    headers(&section)
}

/// What the gateway's SETTINGS say, by a quiche client.
async fn settings(gateway: &Gateway) -> Vec<(u64, u64)> {
    let socket = super::socket(Ipv4Addr::LOCALHOST).await;
    let local = socket.local_addr().expect("it is bound");
    let mut config = quiche::Config::new(quiche::PROTOCOL_VERSION).expect("the version is known");
    config.set_application_protos(&[b"h3"]).expect("one name");
    config.verify_peer(false);
    config.set_initial_max_data(100_000);
    config.set_initial_max_streams_uni(3);
    config.set_initial_max_stream_data_uni(10_000);
    let scid = quiche::ConnectionId::from_ref(&[8; 8]);
    let mut client = quiche::connect(Some("site.test"), &scid, local, gateway.https, &mut config)
        .expect("it is sound");
    let mut http3 = None;
    let mut buffer = vec![0; 1500];
    for _round in 0..200 {
        if client.is_established() && http3.is_none() {
            let config = quiche::h3::Config::new().expect("it is sound");
            let begun = quiche::h3::Connection::with_transport(&mut client, &config);
            http3 = Some(begun.expect("HTTP/3 begins"));
        }
        if let Some(http3) = &mut http3 {
            let _nothing_yet = http3.poll(&mut client);
            if let Some(settings) = http3.peer_settings_raw() {
                return settings.to_vec();
            }
        }
        while let Ok((length, _)) = client.send(&mut buffer) {
            let sent = socket.send_to(&buffer[..length], gateway.https).await;
            sent.expect("loopback sends");
        }
        let patience = client.timeout().unwrap_or(Duration::from_secs(1));
        match tokio::time::timeout(patience, socket.recv_from(&mut buffer)).await {
            Ok(received) => {
                let (length, from) = received.expect("loopback receives");
                let info = quiche::RecvInfo { from, to: local };
                client
                    .recv(&mut buffer[..length], info)
                    .expect("it is sound");
            }
            Err(_) => client.on_timeout(),
        }
    }
    panic!("no SETTINGS came")
}

/// Row 18: there is no dynamic table, and nothing waits for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_18_no_dynamic_table_is_offered() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let target = gateway.target();
    let settings = settings(&gateway).await;
    for (id, name) in [
        (0x01, "QPACK_MAX_TABLE_CAPACITY"),
        (0x07, "QPACK_BLOCKED_STREAMS"),
    ] {
        let value = settings.iter().find(|(known, _)| *known == id);
        assert!(
            value.is_none_or(|(_, value)| *value == 0),
            "{name}: {value:?}"
        );
    }
    let limit = settings.iter().find(|(known, _)| *known == 0x06);
    assert!(limit.is_some(), "the limit is told: {settings:?}");
    // A reference to an entry that cannot be there.
    let dynamic = headers(&[0x02, 0x00, 0x80]);
    let run = attack(&target, vec![stream_bytes(0, &dynamic, true)], &[0]).await;
    assert!(run.closed().is_some(), "{run:?}");
}

/// Row 19: a reserved frame of the largest length that is skipped, 16 MiB, on each of 100 streams,
/// of which 64 KiB come; one of 2^62 bytes; and a PRIORITY_UPDATE that is too long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_19_frames_that_nobody_knows_are_not_kept() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let mut gateway = apart().start(&upstream).await;
    let target = gateway.target();
    let mut client = established(&gateway).await;
    let memory = gateway.dataplane_process().memory();
    let before = received(&gateway.dataplane_metrics().await);
    let reserved = |length| Bytes::new().numbers(&[0x21, length]).done();
    let head = reserved((1 << 24) - 1);
    let piece = vec![0x5a; 1_000];
    let mut sent = 0;
    for id in (0..100).map(|index| index * 4) {
        client
            .fire(Level::OneRtt, stream(id, 0, &head, false))
            .await;
        for part in 0..64 {
            let offset = head.len() as u64 + part * 1_000;
            let frames = stream(id, offset, &piece, false);
            client.fire(Level::OneRtt, frames).await;
            sent += 1;
            if sent % 32 == 0 {
                taken(&gateway, before, sent).await;
                client.stay(Duration::from_millis(1)).await;
            }
        }
    }
    let grown = gateway.dataplane_process().memory().saturating_sub(memory);
    assert!(grown <= SLACK, "{grown} bytes of {}", sent * 1_000);
    let close = client.closed(Duration::from_millis(200)).await;
    assert_eq!(close, None, "nothing is wrong with it");
    let frames = stream(400, 0, &reserved((1 << 62) - 1), false);
    client.fire(Level::OneRtt, frames).await;
    let close = client.closed(Duration::from_secs(10)).await;
    assert_eq!(close.map(|close| close.code), Some(H3_EXCESSIVE_LOAD));

    let long = Bytes::new().numbers(&[0x0f_0700, 4_000, 0]).done();
    let update = [long, vec![b'u'; 3_999]].concat();
    let open = send_headers_frame(0, false, request_fields(&target, "POST", "/long", &[]));
    let run = attack(&target, vec![open, stream_bytes(2, &update, false)], &[0]).await;
    assert_eq!(run.closed(), Some(H3_EXCESSIVE_LOAD), "{run:?}");
    let honest = gateway.h3().await;
    assert_eq!(honest.get("/").await.status, 200);
}

/// Row 20: critical streams are opened twice, or ended. Further cases are in
/// `protocol_errors`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_20_critical_streams_come_once_and_stay() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let target = gateway.target();
    let uni = |stream_id, stream_type, fin_stream| Action::OpenUniStream {
        stream_id,
        fin_stream,
        stream_type,
        expected_result: ExpectedStreamSendResult::Ok,
    };
    let open = || send_headers_frame(0, false, request_fields(&target, "POST", "/case", &[]));
    let (control, encoder, decoder) = (0, 2, 3);
    let (twice, gone) = (H3_STREAM_CREATION_ERROR, H3_CLOSED_CRITICAL_STREAM);
    let cases = [
        (
            "a second control stream",
            vec![open(), uni(6, control, false)],
            twice,
        ),
        (
            "a second encoder stream",
            vec![open(), uni(6, encoder, false), uni(10, encoder, false)],
            twice,
        ),
        (
            "a second decoder stream",
            vec![open(), uni(6, decoder, false), uni(10, decoder, false)],
            twice,
        ),
        (
            "the encoder stream ends",
            vec![open(), uni(6, encoder, true)],
            gone,
        ),
        (
            "the decoder stream ends",
            vec![open(), uni(6, decoder, true)],
            gone,
        ),
    ];
    for (what, actions, code) in cases {
        let run = attack(&target, actions, &[0]).await;
        assert_eq!(run.closed(), Some(code), "{what}: {run:?}");
    }
    // One that is reset, once it is certain that its type was read.
    let answered = Action::Wait {
        wait_type: WaitType::StreamEvent(StreamEvent {
            stream_id: 0,
            event_type: StreamEventType::Finished,
        }),
    };
    let reset = Action::ResetStream {
        stream_id: 2,
        error_code: H3_NO_ERROR,
    };
    let fields = request_fields(&target, "GET", "/honest", &[]);
    let actions = vec![send_headers_frame(0, true, fields), answered, reset];
    let run = attack(&target, actions, &[4]).await;
    assert_eq!(run.closed(), Some(gone), "{run:?}");
    assert_eq!(gateway.h3().await.get("/honest").await.status, 200);
}
