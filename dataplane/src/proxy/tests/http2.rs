//! HTTP/2 with prior knowledge, from a client to an upstream.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate_proto::v1;
use tokio::{io::AsyncReadExt as _, net::TcpStream, sync::mpsc, time::timeout};

use super::harness::{Gateway, LISTENER, PATIENCE, echo, endless, script};
use crate::snapshot::fixture;

type Content = BoxBody<Bytes, Infallible>;

async fn connect(gateway: &Gateway) -> SendRequest<Content> {
    let stream = TcpStream::connect(gateway.address)
        .await
        .expect("a connection");
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder
        .handshake(TokioIo::new(stream))
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

async fn send(
    sender: &SendRequest<Content>,
    request: Request<Content>,
) -> hyper::Result<Response<Incoming>> {
    let send = sender.clone().send_request(request);
    timeout(PATIENCE, send).await.expect("a response in time")
}

fn get(path: &str) -> Request<Content> {
    let uri = format!("http://a.example{path}");
    Request::builder()
        .uri(uri)
        .body(Empty::new().boxed())
        .expect("a valid request")
}

async fn text(response: Response<Incoming>) -> (String, Option<HeaderMap>) {
    let body = timeout(PATIENCE, response.into_body().collect())
        .await
        .expect("in time");
    let body = body.expect("a whole body");
    let trailers = body.trailers().cloned();
    (
        String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        trailers,
    )
}

#[tokio::test]
async fn a_hundred_requests_at_once_go_through_one_connection() {
    let upstream = echo(false).await;
    let gateway = Gateway::start(vec![(fixture::rule("default/echo:80"), vec![upstream])]).await;
    let sender = connect(&gateway).await;
    let fetch = |number: usize| {
        let sender = sender.clone();
        async move {
            let response = send(&sender, get(&format!("/{number}")))
                .await
                .expect("a response");
            assert_eq!(response.status(), StatusCode::OK);
            assert!(response.headers().get("keep-alive").is_none());
            let (text, _) = text(response).await;
            assert!(
                text.starts_with(&format!("GET /{number} HTTP/1.1\n")),
                "{text}"
            );
            assert!(text.contains("\nhost: a.example\n"), "{text}");
            assert!(text.contains("\nvia: 2 tidegate\n"), "{text}");
            assert!(
                !text.contains("transfer-encoding"),
                "a GET got content:\n{text}"
            );
        }
    };
    futures_util::future::join_all((0..100).map(fetch)).await;
    let live = gateway.connections().await;
    assert_eq!((live.len(), live[0].requests), (1, 100));
    assert_eq!(live[0].tls.as_ref().map(|tls| &*tls.alpn), Some("h2"));
}

#[tokio::test]
async fn trailers_go_both_ways_as_grpc_wants() {
    let upstream = echo(true).await;
    let gateway = Gateway::start(vec![(fixture::rule("default/h2:80"), vec![upstream])]).await;
    let sender = connect(&gateway).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let frames = [
        Ok(Frame::data(Bytes::from("hello"))),
        Ok(Frame::trailers(trailers)),
    ];
    let request = Request::builder()
        .method("POST")
        .uri("http://a.example/service/method")
        .header("te", "trailers")
        .body(BodyExt::boxed(StreamBody::new(tokio_stream::iter(frames))))
        .unwrap();
    let response = send(&sender, request).await.expect("a response");
    let (text, trailers) = text(response).await;
    assert!(
        text.starts_with("POST http://a.example/service/method HTTP/2.0\n"),
        "{text}"
    );
    assert!(text.contains("\nte: trailers\n"), "{text}");
    assert!(
        text.contains("\n\nhello\ntrailer: grpc-status: 0"),
        "{text}"
    );
    assert_eq!(trailers.expect("trailers")["grpc-status"], "0");
}

#[tokio::test]
async fn large_content_arrives_whole_both_ways() {
    for (backend, multiplex) in [("default/h1:80", false), ("default/h2:80", true)] {
        let upstream = echo(multiplex).await;
        let gateway = Gateway::start(vec![(fixture::rule(backend), vec![upstream])]).await;
        let sender = connect(&gateway).await;
        let content = "0123456789abcdef".repeat(512 * 1024);
        let request = Request::builder()
            .method("PUT")
            .uri("http://a.example/")
            .body(Full::from(content.clone()).boxed())
            .unwrap();
        let (text, _) = text(send(&sender, request).await.expect("a response")).await;
        let (_, echoed) = text.split_once("\n\n").expect("a head and content");
        assert!(
            echoed == content,
            "{} bytes of {}",
            echoed.len(),
            content.len()
        );
    }
}

#[tokio::test]
async fn an_upstream_that_dies_resets_the_stream_and_not_the_connection() {
    let text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let upstream = script(text, |stream| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(stream);
    });
    let gateway = Gateway::start(vec![(fixture::rule("default/x:80"), vec![upstream.await])]).await;
    let sender = connect(&gateway).await;
    for _ in 0..2 {
        let response = send(&sender, get("/")).await.expect("a head");
        assert_eq!(response.status(), StatusCode::OK);
        let end = timeout(PATIENCE, response.into_body().collect())
            .await
            .expect("in time");
        assert!(end.is_err(), "a clean end");
    }
    assert_eq!(gateway.connections().await.len(), 1);
}

#[tokio::test]
async fn a_stream_that_is_reset_cancels_its_upstream_request_alone() {
    let (told, mut ended) = mpsc::channel(1);
    for text in ["", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello"] {
        let told = told.clone();
        let upstream = script(text, move |mut stream| {
            let told = told.clone();
            async move {
                let mut rest = [0; 16];
                let _ = told.send(false).await;
                let end = stream.read(&mut rest).await;
                let _ = told.send(!matches!(end, Ok(1..))).await;
            }
        });
        let rules = vec![(fixture::rule("default/x:80"), vec![upstream.await])];
        let gateway = Gateway::start(rules).await;
        let sender = connect(&gateway).await;
        let pending = tokio::spawn(sender.clone().send_request(get("/")));
        let begun = timeout(PATIENCE, ended.recv()).await.expect("in time");
        assert_eq!(begun, Some(false));
        if text.is_empty() {
            pending.abort();
        } else {
            drop(pending.await.expect("the task ends").expect("a head"));
        }
        let end = timeout(PATIENCE, ended.recv()).await;
        assert_eq!(end.expect("the upstream is told in time"), Some(true));
        assert_eq!(gateway.connections().await.len(), 1);
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_reset_and_frees_the_upstream() {
    let (upstream, mut ended) = endless().await;
    let listener = v1::Listener {
        limits: Some(v1::HttpLimits {
            body_idle_timeout_ms: 400,
            ..Default::default()
        }),
        ..fixture::http(LISTENER, 0, "")
    };
    let rules = vec![(fixture::rule("default/x:80"), vec![upstream])];
    let gateway = Gateway::start_with(listener, rules).await;
    let sender = connect(&gateway).await;
    let response = send(&sender, get("/")).await.expect("a head");
    // The client holds the response and never reads: its window fills up, and stays so.
    let freed = timeout(PATIENCE, ended.recv()).await;
    freed.expect("the upstream is freed").expect("it is");
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(gateway.connections().await.len(), 1);
}

#[tokio::test]
async fn the_gateways_own_answer_to_head_has_no_content() {
    let gateway = Gateway::start(vec![]).await;
    let sender = connect(&gateway).await;
    for (method, empty) in [("HEAD", true), ("GET", false)] {
        let mut request = get("/");
        *request.method_mut() = method.parse().unwrap();
        let response = send(&sender, request).await.expect("a response");
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_ne!(response.headers()["content-length"], "0");
        assert_eq!(text(response).await.0.is_empty(), empty, "{method}");
    }
}
