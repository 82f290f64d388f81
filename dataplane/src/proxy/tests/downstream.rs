//! HTTP/1.1 in the clear: the protocol, the limits, commands and records.

use std::time::{Duration, Instant};

use tidegate_proto::v1::{self, ClosedBy};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::harness::{Gateway, LISTENER, PATIENCE, echo, endless, script};
use crate::{quic::ConnectionShutdownBehaviour, shard::ShardCommand, snapshot::fixture};

async fn echoing() -> Gateway {
    let upstream = echo(false).await;
    Gateway::start(vec![(fixture::rule("default/echo:80"), vec![upstream])]).await
}

/// Reads a response with Content-Length.
async fn response(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, content)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if content.len() >= length.expect("a length").parse().expect("a number") {
                return text;
            }
        }
        let more = timeout(PATIENCE, stream.read_buf(&mut read))
            .await
            .expect("an answer in time");
        assert_ne!(more.expect("no error"), 0, "ended after\n{text}");
    }
}

#[tokio::test]
async fn what_is_malformed_is_refused() {
    let gateway = echoing().await;
    for (request, expected) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400),
        ("GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", 400),
        ("GET /%zz HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nhello",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\nhello",
            400,
        ),
        (
            "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nexpect: magic\r\nconnection: close\r\n\r\n",
            417,
        ),
        (
            "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\nconnection: close\r\n\r\n",
            501,
        ),
    ] {
        let answer = gateway
            .raw(&request.replacen("\r\n\r\n", "\r\nconnection: close\r\n\r\n", 1))
            .await;
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        assert_eq!(status, Some(expected), "{request}\n{answer}");
    }
}

#[tokio::test]
async fn too_many_or_too_large_fields_are_refused() {
    let gateway = echoing().await;
    let many = "x: y\r\n".repeat(130);
    let large = format!("x: {}\r\n", "y".repeat(33 * 1024));
    for fields in [many, large] {
        assert_eq!(gateway.get("/", &fields).await.0, 431);
    }
}

#[tokio::test]
async fn a_connection_serves_many_requests_and_leaves_one_record() {
    let mut gateway = echoing().await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    for number in 0..10 {
        let request = format!("GET /{number} HTTP/1.1\r\nhost: a.example\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = response(&mut client).await;
        assert!(
            answer.contains(&format!("\nGET /{number} HTTP/1.1\n"))
                || answer.contains(&format!("\r\n\r\nGET /{number} HTTP/1.1\n")),
            "{answer}"
        );
    }
    let live = gateway.connections().await;
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].requests, 10);
    assert_eq!(
        (&*live[0].transport, &*live[0].listener_id),
        ("tcp", LISTENER)
    );
    assert_eq!(
        live[0].peer_address,
        client.local_addr().unwrap().to_string()
    );
    drop(client);
    let closed = gateway.closed(1).await;
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0].id, live[0].id);
    assert_eq!(closed[0].requests, 10);
    assert_eq!(
        closed[0].audit.as_ref().unwrap().closed_by(),
        ClosedBy::Peer
    );
    let stats = closed[0].stats.as_ref().unwrap();
    assert!(
        stats.bytes_recvd > 300 && stats.bytes_sent > stats.bytes_recvd,
        "{stats:?}"
    );
    assert!(gateway.connections().await.is_empty());
}

#[tokio::test]
async fn a_head_answer_has_the_length_and_not_the_content() {
    let text = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
    let upstream = script(text, |stream| async move {
        let _open = stream;
        tokio::time::sleep(PATIENCE).await;
    });
    let gateway = Gateway::start(vec![(fixture::rule("default/x:80"), vec![upstream.await])]).await;
    let request = "HEAD / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n";
    let answer = gateway.raw(request).await;
    assert!(answer.contains("\r\ncontent-length: 1000\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_continue() {
    let gateway = echoing().await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    let head =
        "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    timeout(PATIENCE, client.read_exact(&mut interim))
        .await
        .expect("in time")
        .unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"hello").await.unwrap();
    assert!(response(&mut client).await.contains("\n\nhello"));
}

#[tokio::test]
async fn a_close_command_ends_the_connection_and_is_in_the_record() {
    let mut gateway = echoing().await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
        .await
        .unwrap();
    response(&mut client).await;
    let selector = v1::Selector {
        listener: LISTENER.into(),
        ..Default::default()
    };
    let behaviour = ConnectionShutdownBehaviour::application(0x100, "maintenance");
    let close = |reply| ShardCommand::CloseSelected {
        selector,
        behaviour,
        reply,
    };
    assert_eq!(gateway.ask(close).await, Ok(1));
    let mut rest = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut rest))
        .await
        .expect("an end in time")
        .unwrap();
    let closed = gateway.closed(1).await;
    let audit = closed[0].audit.as_ref().unwrap();
    assert_eq!(
        (audit.closed_by(), &*audit.connection_close_reason),
        (ClosedBy::Command, "maintenance")
    );
}

#[tokio::test]
async fn a_drained_connection_finishes_its_request_and_ends() {
    let text = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe";
    let upstream = script(text, |mut stream| async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let _ = stream.write_all(b"llo").await;
        tokio::time::sleep(PATIENCE).await;
    });
    let mut gateway =
        Gateway::start(vec![(fixture::rule("default/x:80"), vec![upstream.await])]).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 8];
    client.read_exact(&mut first).await.unwrap();
    let drain = |reply| ShardCommand::Drain {
        listener: None,
        deadline: PATIENCE,
        reply,
    };
    gateway.ask(drain).await;
    let mut rest = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut rest))
        .await
        .expect("an end in time")
        .unwrap();
    assert!(
        rest.ends_with(b"hello"),
        "{}",
        String::from_utf8_lossy(&rest)
    );
    let closed = gateway.closed(1).await;
    assert_eq!(
        closed[0].audit.as_ref().unwrap().closed_by(),
        ClosedBy::Drain
    );
}

async fn limited(limits: v1::HttpLimits) -> Gateway {
    let listener = v1::Listener {
        limits: Some(limits),
        ..fixture::http(LISTENER, 0, "")
    };
    let upstream = echo(false).await;
    Gateway::start_with(
        listener,
        vec![(fixture::rule("default/echo:80"), vec![upstream])],
    )
    .await
}

#[tokio::test]
async fn a_slow_header_section_ends_the_connection() {
    let limits = v1::HttpLimits {
        header_timeout_ms: 300,
        ..Default::default()
    };
    let mut gateway = limited(limits).await;
    let began = Instant::now();
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, client.read_to_end(&mut rest))
        .await
        .expect("an end in time");
    assert!(began.elapsed() >= Duration::from_millis(300));
    let closed = gateway.closed(1).await;
    let audit = closed[0].audit.as_ref().unwrap();
    assert_eq!(audit.closed_by(), ClosedBy::IdleTimeout);
    assert!(
        audit.connection_close_reason.contains("header"),
        "{audit:?}"
    );
}

#[tokio::test]
async fn a_connection_without_requests_ends_after_its_time() {
    let limits = v1::HttpLimits {
        connection_idle_timeout_ms: 300,
        ..Default::default()
    };
    let mut gateway = limited(limits).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    for _ in 0..2 {
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
            .await
            .unwrap();
        response(&mut client).await;
    }
    let began = Instant::now();
    let mut rest = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut rest))
        .await
        .expect("an end in time")
        .unwrap();
    assert!(rest.is_empty() && began.elapsed() >= Duration::from_millis(200));
    let closed = gateway.closed(1).await;
    assert_eq!(
        closed[0].audit.as_ref().unwrap().closed_by(),
        ClosedBy::IdleTimeout
    );
}

#[tokio::test]
async fn content_that_stands_still_is_answered_with_408() {
    let limits = v1::HttpLimits {
        body_idle_timeout_ms: 300,
        ..Default::default()
    };
    let gateway = limited(limits).await;
    let head = "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 5\r\n\r\nhe";
    let answer = gateway.raw(head).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn an_address_that_is_not_admitted_is_turned_away() {
    let listener = v1::Listener {
        admission: Some(v1::Admission {
            deny: vec!["127.0.0.0/8".into()],
            ..Default::default()
        }),
        ..fixture::http(LISTENER, 0, "")
    };
    let mut gateway = Gateway::start_with(listener, vec![]).await;
    assert_eq!(gateway.get("/", "").await.1, "");
    let closed = gateway.closed(1).await;
    assert_eq!(
        closed[0].audit.as_ref().unwrap().closed_by(),
        ClosedBy::Admission
    );
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up_and_frees_the_upstream() {
    let (upstream, mut ended) = endless().await;
    let listener = v1::Listener {
        limits: Some(v1::HttpLimits {
            body_idle_timeout_ms: 400,
            ..Default::default()
        }),
        ..fixture::http(LISTENER, 0, "")
    };
    let rules = vec![(fixture::rule("default/x:80"), vec![upstream])];
    let mut gateway = Gateway::start_with(listener, rules).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n";
    client.write_all(request).await.unwrap();
    let freed = timeout(PATIENCE, ended.recv()).await;
    freed.expect("the upstream is freed").expect("it is");
    assert_eq!(gateway.closed(1).await.len(), 1);
}
