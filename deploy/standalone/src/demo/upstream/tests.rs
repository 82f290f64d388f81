use bytes::Bytes;
use http_body_util::BodyExt;

use super::*;
use crate::{origin::Url, tcp};

async fn fetch(
    upstream: &Upstream,
    http2: bool,
    request: http::request::Builder,
    path: &str,
    body: &'static str,
) -> (StatusCode, Bytes) {
    let url: Url = format!("http://{}{path}", upstream.address)
        .parse()
        .expect("url");
    let mut connection = tcp::Connection::open(&url.origin, &[upstream.address], None, http2)
        .await
        .expect("connected");
    let request = request
        .uri(url.uri)
        .body(Bytes::from(body))
        .expect("request");
    let response = connection.send(request).await.expect("response");
    let status = response.status();
    (
        status,
        response
            .into_body()
            .collect()
            .await
            .expect("body")
            .to_bytes(),
    )
}

#[tokio::test]
async fn echo_shows_method_target_fields_and_body() {
    let upstream = Upstream::start((std::net::Ipv4Addr::LOCALHOST, 0).into())
        .await
        .expect("started");
    for http2 in [false, true] {
        let request = Request::post("/").header("x-one", "a").header("x-one", "b");
        let (status, body) = fetch(&upstream, http2, request, "/echo/deep?q=1", "hello").await;
        assert_eq!(status, StatusCode::OK);
        let shown: serde_json::Value = serde_json::from_slice(&body).expect("json");
        assert_eq!(shown["method"], "POST");
        assert!(
            shown["target"]
                .as_str()
                .expect("text")
                .ends_with("/echo/deep?q=1")
        );
        assert_eq!(shown["headers"]["x-one"], serde_json::json!(["a", "b"]));
        assert_eq!(
            (&shown["body"], &shown["body_bytes"]),
            (&"hello".into(), &5.into())
        );
    }
}

#[tokio::test]
async fn bytes_are_as_many_as_asked_for() {
    let upstream = Upstream::start((std::net::Ipv4Addr::LOCALHOST, 0).into())
        .await
        .expect("started");
    for count in [0, 1, 65_536, 200_001] {
        let path = format!("/bytes/{count}");
        let (status, body) = fetch(&upstream, false, Request::get("/"), &path, "").await;
        assert_eq!((status, body.len()), (StatusCode::OK, count));
    }
    for path in ["/bytes/", "/bytes/-1", "/bytes/99999999999999"] {
        let (status, _) = fetch(&upstream, false, Request::get("/"), path, "").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn the_mirror_sends_the_body_back() {
    let upstream = Upstream::start((std::net::Ipv4Addr::LOCALHOST, 0).into())
        .await
        .expect("started");
    let (status, body) = fetch(&upstream, true, Request::put("/"), "/mirror", "same").await;
    assert_eq!((status, body), (StatusCode::OK, Bytes::from("same")));
}

#[tokio::test]
async fn the_page_is_html_for_browsers_and_json_for_the_rest() {
    let upstream = Upstream::start((std::net::Ipv4Addr::LOCALHOST, 0).into())
        .await
        .expect("started");
    let browser = Request::get("/").header("accept", "text/html,*/*;q=0.8");
    let (_, html) = fetch(&upstream, false, browser, "/", "").await;
    assert!(html.starts_with(b"<!doctype html>") && !html.windows(7).any(|w| w == b"{paths}"));
    let (_, json) = fetch(&upstream, false, Request::get("/"), "/", "").await;
    let json: serde_json::Value = serde_json::from_slice(&json).expect("json");
    assert!(json["paths"]["/echo"].is_string());
}

#[tokio::test]
async fn status_delay_and_unknown_paths_say_what_they_are() {
    let upstream = Upstream::start((std::net::Ipv4Addr::LOCALHOST, 0).into())
        .await
        .expect("started");
    for (path, expected) in [
        ("/status/503", 503),
        ("/status/204", 204),
        ("/status/99", 400),
        ("/delay/1", 200),
        ("/delay/x", 400),
        ("/nothing", 404),
    ] {
        let (status, _) = fetch(&upstream, false, Request::get("/"), path, "").await;
        assert_eq!(status.as_u16(), expected, "{path}");
    }
}
