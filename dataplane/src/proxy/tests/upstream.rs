//! What upstreams get, and what becomes of their failures.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

use super::harness::{Gateway, PATIENCE, echo, script, under};
use crate::snapshot::fixture;

#[tokio::test]
async fn an_upstream_learns_the_client_and_nothing_of_its_connection() {
    let upstream = echo(false).await;
    let gateway = Gateway::start(vec![(fixture::rule("default/echo:80"), vec![upstream])]).await;
    let fields = "x-forwarded-for: 1.2.3.4\r\nforwarded: for=1.2.3.4\r\nconnection: x-hop\r\n\
                  x-hop: 1\r\nte: trailers\r\nkeep-alive: timeout=5\r\nexpect: 100-continue\r\n\
                  accept: */*\r\n";
    let (status, answer) = gateway.get("/%61/../b//c?q=%61", fields).await;
    assert_eq!(status, 200, "{answer}");
    let port = gateway.address.port();
    for line in [
        "GET /b/c?q=%61 HTTP/1.1".to_owned(),
        "host: a.example".to_owned(),
        "accept: */*".to_owned(),
        "x-forwarded-for: 127.0.0.1".to_owned(),
        "x-forwarded-proto: http".to_owned(),
        "x-forwarded-host: a.example".to_owned(),
        format!("x-forwarded-port: {port}"),
        "forwarded: for=127.0.0.1;host=\"a.example\";proto=http".to_owned(),
        "via: 1.1 tidegate".to_owned(),
        "te: trailers".to_owned(),
        "x-upstream: echo".to_owned(),
    ] {
        assert!(
            answer.lines().any(|found| found == line),
            "no `{line}` in\n{answer}"
        );
    }
    for absent in [
        "1.2.3.4",
        "x-hop",
        "keep-alive",
        "expect",
        "transfer-encoding: chunked\nx",
    ] {
        assert!(!answer.contains(absent), "`{absent}` in\n{answer}");
    }
}

#[tokio::test]
async fn content_reaches_the_upstream_with_the_framing_of_the_client() {
    let upstream = echo(false).await;
    let gateway = Gateway::start(vec![(fixture::rule("default/echo:80"), vec![upstream])]).await;
    let head = "POST / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n";
    let sized = gateway
        .raw(&format!("{head}content-length: 5\r\n\r\nhello"))
        .await;
    assert!(
        sized.contains("\ncontent-length: 5\n") && sized.contains("\n\nhello"),
        "{sized}"
    );
    let chunked = "transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
    let chunked = gateway.raw(&format!("{head}{chunked}")).await;
    assert!(
        chunked.contains("\ntransfer-encoding: chunked\n"),
        "{chunked}"
    );
    assert!(chunked.contains("\n\nhello"), "{chunked}");
}

#[tokio::test]
async fn failures_have_the_status_that_the_gateway_api_says() {
    let slow = script("", |stream| async move {
        let _open = stream;
        tokio::time::sleep(PATIENCE).await;
    });
    let slow = slow.await;
    let rude = script("SSH-2.0-OpenSSH_9.2\r\n", |_| async {}).await;
    let silent = script("", |_| async {}).await;
    let unasked = "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
    let unasked = script(unasked, |_| async {}).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let request_timeout = tidegate_proto::v1::Rule {
        request_timeout_ms: Some(200),
        ..under("/slow-request", "default/slow1:80")
    };
    let backend_timeout = tidegate_proto::v1::Rule {
        backend_request_timeout_ms: Some(200),
        ..under("/slow-backend", "default/slow2:80")
    };
    let no_backend = tidegate_proto::v1::Rule {
        backends: vec![],
        ..under("/none", "x")
    };
    let gateway = Gateway::start(vec![
        (request_timeout, vec![slow]),
        (backend_timeout, vec![slow]),
        (under("/rude", "default/rude:80"), vec![rude]),
        (under("/silent", "default/silent:80"), vec![silent]),
        (under("/unasked", "default/unasked:80"), vec![unasked]),
        (under("/nobody", "default/nobody:80"), vec![nobody]),
        (under("/empty", "default/empty:80"), vec![]),
        (no_backend, vec![]),
        (under("/unresolved", ""), vec![]),
    ])
    .await;
    for (path, expected) in [
        ("/slow-request", 504),
        ("/slow-backend", 504),
        ("/rude", 502),
        ("/silent", 502),
        ("/unasked", 502),
        ("/nobody", 503),
        ("/empty", 503),
        ("/none", 500),
        ("/unresolved", 500),
        ("/elsewhere", 404),
        ("/a%2fb", 400),
    ] {
        let (status, answer) = gateway.get(path, "").await;
        assert_eq!(status, expected, "{path}\n{answer}");
    }
}

#[tokio::test]
async fn an_upstream_that_dies_in_a_response_is_no_clean_end() {
    for (text, end) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
            "hello",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "0\r\n\r\n",
        ),
    ] {
        let upstream = script(text, |_| async {}).await;
        let gateway = Gateway::start(vec![(fixture::rule("default/x:80"), vec![upstream])]).await;
        let (status, answer) = gateway.get("/", "").await;
        // The head may be lost with the reset, which is as good.
        assert!(status == 200 || status == 0, "{answer}");
        let clean = answer.ends_with("0\r\n\r\n") && text.contains("chunked");
        assert!(!clean, "{end} ended:\n{answer}");
        assert!(!answer.contains("content-length: 5"), "{answer}");
    }
}

#[tokio::test]
async fn a_length_that_is_not_the_contents_is_not_passed_on() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n\
                   5\r\nhello\r\n0\r\n\r\n";
    let repeated = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok";
    let gateway = Gateway::start(vec![
        (
            under("/chunked", "default/chunked:80"),
            vec![script(chunked, |_| async {}).await],
        ),
        (
            under("/repeated", "default/repeated:80"),
            vec![script(repeated, |_| async {}).await],
        ),
    ])
    .await;
    let (status, answer) = gateway.get("/chunked", "").await;
    assert_eq!(status, 200, "{answer}");
    assert!(!answer.contains("content-length"), "{answer}");
    assert!(answer.contains("hello"), "{answer}");
    let (status, answer) = gateway.get("/repeated", "").await;
    assert_eq!(status, 502, "{answer}");
}

#[tokio::test]
async fn an_early_response_reaches_a_client_that_still_sends() {
    let text = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig";
    let upstream = script(text, |stream| async move {
        let _unread = stream;
        tokio::time::sleep(PATIENCE).await;
    });
    let gateway = Gateway::start(vec![(fixture::rule("default/x:80"), vec![upstream.await])]).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 1000000000\r\n\r\nsome";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, client.read_to_end(&mut answer))
        .await
        .expect("an end in time");
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("\r\n\r\nbig"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_upstream_request() {
    let (told, mut ended) = mpsc::channel(1);
    // Before the response's head, and in the middle of its content.
    for text in ["", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello"] {
        let told = told.clone();
        let upstream = script(text, move |mut stream| {
            let told = told.clone();
            async move {
                let mut rest = [0; 16];
                let end = stream.read(&mut rest).await;
                let _ = told.send(!matches!(end, Ok(1..))).await;
            }
        });
        let rules = vec![(fixture::rule("default/x:80"), vec![upstream.await])];
        let gateway = Gateway::start(rules).await;
        let mut client = TcpStream::connect(gateway.address).await.unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
            .await
            .unwrap();
        if text.is_empty() {
            // The request is under way when its connection is listed with it.
            let deadline = tokio::time::Instant::now() + PATIENCE;
            while gateway
                .connections()
                .await
                .iter()
                .all(|it| it.requests_active == 0)
            {
                assert!(tokio::time::Instant::now() < deadline);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        } else {
            client.read_u8().await.unwrap();
        }
        drop(client);
        let end = timeout(PATIENCE, ended.recv())
            .await
            .expect("the upstream is told in time");
        assert_eq!(end, Some(true), "{text}");
    }
}

#[tokio::test]
async fn content_that_breaks_off_is_never_completed_upstream() {
    let (told, mut seen) = mpsc::channel(1);
    let upstream = script("", move |mut stream| {
        let told = told.clone();
        async move {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            let _ = told.send(String::from_utf8_lossy(&rest).into_owned()).await;
        }
    });
    let gateway = Gateway::start(vec![(fixture::rule("default/x:80"), vec![upstream.await])]).await;
    for (fields, content) in [
        ("content-length: 10", "hello"),
        ("transfer-encoding: chunked", "5\r\nhello\r\n"),
    ] {
        let mut client = TcpStream::connect(gateway.address).await.unwrap();
        let request = format!("POST / HTTP/1.1\r\nhost: a.example\r\n{fields}\r\n\r\n{content}");
        client.write_all(request.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(client);
        let rest = timeout(PATIENCE, seen.recv())
            .await
            .expect("an end in time");
        let rest = rest.expect("what the upstream got");
        assert!(!rest.ends_with("0\r\n\r\n"), "{rest}");
        assert!(rest.len() < 20, "{rest}");
    }
}
