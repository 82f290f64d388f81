//! Connections that become something else than HTTP's.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate_proto::v1;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

use super::harness::{Gateway, LISTENER, PATIENCE, echo, script, under};
use crate::{shard::ShardCommand, snapshot::fixture};

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nhost: a.example\r\nconnection: Upgrade\r\n\
                       upgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
                        upgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// An upstream that switches, says hello, and sends back in upper case what it gets.
async fn shouting() -> (std::net::SocketAddr, mpsc::Receiver<()>) {
    let (told, ended) = mpsc::channel(8);
    let upstream = script(SWITCHED, move |mut stream| {
        let told = told.clone();
        async move {
            let _ = stream.write_all(b"hello").await;
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                let shouted = buffer[..count].to_ascii_uppercase();
                if stream.write_all(&shouted).await.is_err() {
                    break;
                }
            }
            let _ = told.send(()).await;
        }
    });
    (upstream.await, ended)
}

/// A connection that asked for an upgrade, and the head of the answer.
async fn upgraded(gateway: &Gateway, early: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(gateway.address)
        .await
        .expect("a connection");
    let request = format!("{UPGRADE}{early}");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = timeout(PATIENCE, stream.read_u8()).await.expect("in time");
        head.push(byte.expect("a head"));
    }
    (stream, String::from_utf8(head).expect("text"))
}

async fn expect(stream: &mut TcpStream, text: &str) {
    let mut read = vec![0; text.len()];
    let reading = timeout(PATIENCE, stream.read_exact(&mut read));
    reading.await.expect("in time").expect("as much");
    assert_eq!(String::from_utf8_lossy(&read), text);
}

#[tokio::test]
async fn bytes_pass_both_ways_after_an_upgrade() {
    let (upstream, mut ended) = shouting().await;
    let mut gateway = Gateway::start(vec![(under("/ws", "default/ws:80"), vec![upstream])]).await;
    let (mut stream, head) = upgraded(&gateway, "early ").await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.contains("upgrade: websocket\r\n"), "{head}");
    assert!(head.contains("connection: upgrade\r\n"), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    expect(&mut stream, "hello").await;
    expect(&mut stream, "EARLY ").await;
    for _ in 0..3 {
        stream.write_all(b"again").await.expect("sent");
        expect(&mut stream, "AGAIN").await;
    }
    let [live] = &gateway.connections().await[..] else {
        panic!("one connection");
    };
    assert_eq!((live.requests, live.requests_active), (1, 1));
    drop(stream);
    timeout(PATIENCE, ended.recv())
        .await
        .expect("the upstream's end");
    let closed = gateway.closed(1).await;
    assert!(closed[0].stats.clone().expect("statistics").bytes_recvd > 20);
}

#[tokio::test]
async fn the_upstreams_end_is_the_clients() {
    let upstream = script(SWITCHED, |mut stream| async move {
        let _ = stream.write_all(b"bye").await;
    });
    let rules = vec![(under("/ws", "default/ws:80"), vec![upstream.await])];
    let gateway = Gateway::start(rules).await;
    let (mut stream, _) = upgraded(&gateway, "").await;
    expect(&mut stream, "bye").await;
    let mut rest = Vec::new();
    let reading = timeout(PATIENCE, stream.read_to_end(&mut rest));
    assert_eq!(reading.await.expect("in time").expect("an end"), 0);
}

#[tokio::test]
async fn an_upstream_may_refuse_and_the_connection_goes_on() {
    let upstream = echo(false).await;
    let rules = vec![(under("/", "default/echo:80"), vec![upstream])];
    let gateway = Gateway::start(rules).await;
    let mut stream = TcpStream::connect(gateway.address)
        .await
        .expect("a connection");
    let last = "GET /last HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n";
    stream.write_all(UPGRADE.as_bytes()).await.expect("sent");
    stream.write_all(last.as_bytes()).await.expect("sent");
    let mut answers = String::new();
    let reading = timeout(PATIENCE, stream.read_to_string(&mut answers));
    reading.await.expect("in time").expect("text");
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert!(answers.contains("upgrade: websocket\n"), "{answers}");
    assert!(answers.contains("GET /last"), "{answers}");
}

#[tokio::test]
async fn an_idle_tunnel_ends() {
    let (upstream, mut ended) = shouting().await;
    let listener = v1::Listener {
        limits: Some(v1::HttpLimits {
            body_idle_timeout_ms: 200,
            ..Default::default()
        }),
        ..fixture::http(LISTENER, 0, "")
    };
    let rules = vec![(under("/ws", "default/ws:80"), vec![upstream])];
    let gateway = Gateway::start_with(listener, rules).await;
    let (mut stream, _) = upgraded(&gateway, "").await;
    expect(&mut stream, "hello").await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.write_all(b"x").await.expect("sent");
        expect(&mut stream, "X").await;
    }
    let mut rest = Vec::new();
    let reading = timeout(PATIENCE, stream.read_to_end(&mut rest));
    let _ = reading.await.expect("an end in time");
    timeout(PATIENCE, ended.recv())
        .await
        .expect("the upstream's end");
}

#[tokio::test]
async fn a_drain_lets_a_tunnel_go_on_until_its_deadline() {
    let (upstream, _ended) = shouting().await;
    let rules = vec![(under("/ws", "default/ws:80"), vec![upstream])];
    let mut gateway = Gateway::start(rules).await;
    let (mut stream, _) = upgraded(&gateway, "").await;
    expect(&mut stream, "hello").await;
    let drain = |reply| ShardCommand::Drain {
        listener: None,
        deadline: Duration::from_millis(500),
        reply,
    };
    gateway.ask(drain).await;
    stream.write_all(b"still").await.expect("sent");
    expect(&mut stream, "STILL").await;
    let mut rest = Vec::new();
    let reading = timeout(PATIENCE, stream.read_to_end(&mut rest));
    let _ = reading.await.expect("an end in time");
    let closed = gateway.closed(1).await;
    let audit = closed[0].audit.as_ref().expect("an audit record");
    assert_eq!(audit.closed_by(), v1::ClosedBy::Drain);
}

/// An HTTP/2 client's stream after an extended CONNECT, once the gateway allows it.
async fn websocket_over_http2(
    gateway: &Gateway,
    protocol: &'static str,
) -> http::Response<hyper::body::Incoming> {
    let stream = TcpStream::connect(gateway.address)
        .await
        .expect("a connection");
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let handshake = builder.handshake::<_, Empty<Bytes>>(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.expect("HTTP/2");
    tokio::spawn(connection);
    // The gateway's settings come before its first response.
    let warm_up = http::Request::builder().uri("http://a.example/elsewhere");
    let warm_up = warm_up.body(Empty::new()).expect("a request");
    let response = sender.send_request(warm_up).await.expect("a response");
    assert_eq!(response.status(), 404);
    let request = http::Request::builder()
        .method("CONNECT")
        .uri("http://a.example/ws")
        .header("sec-websocket-version", "13")
        .extension(hyper::ext::Protocol::from_static(protocol))
        .body(Empty::new())
        .expect("a request");
    let response = timeout(PATIENCE, sender.send_request(request)).await;
    response.expect("in time").expect("a response")
}

#[tokio::test]
async fn a_stream_of_http2_becomes_a_websocket_of_the_upstreams() {
    let (upstream, mut ended) = shouting().await;
    let gateway = Gateway::start(vec![(under("/ws", "default/ws:80"), vec![upstream])]).await;
    let response = websocket_over_http2(&gateway, "websocket").await;
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    let upgraded = hyper::upgrade::on(response).await.expect("a stream");
    let mut stream = TokioIo::new(upgraded);
    let mut read = [0; 5];
    stream.read_exact(&mut read).await.expect("as much");
    assert_eq!(&read, b"hello");
    for _ in 0..3 {
        stream.write_all(b"again").await.expect("sent");
        stream.read_exact(&mut read).await.expect("as much");
        assert_eq!(&read, b"AGAIN");
    }
    stream.shutdown().await.expect("an end");
    timeout(PATIENCE, ended.recv())
        .await
        .expect("the upstream's end");
}

#[tokio::test]
async fn an_upstream_that_does_not_switch_is_no_websocket() {
    let rules = vec![(under("/ws", "default/echo:80"), vec![echo(false).await])];
    let gateway = Gateway::start(rules).await;
    let response = websocket_over_http2(&gateway, "websocket").await;
    assert_eq!(response.status(), 502);
    let response = websocket_over_http2(&gateway, "connect-udp").await;
    assert_eq!(response.status(), 501);
}
