//! What the demo's upstream answers, one function for each path.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use serde_json::{Value, json};

pub(super) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// Largest body that `/echo` shows; the rest is counted.
const ECHO_SHOWN: usize = 64 * 1024;
const BYTES_MOST: u64 = 10 * 1024 * 1024 * 1024;
const DELAY_MOST: u64 = 60_000;
const PIECE: usize = 64 * 1024;

const PATHS: [(&str, &str); 7] = [
    ("/", "this page; JSON unless text/html is accepted"),
    ("/echo", "the request as it arrived here, any method"),
    ("/mirror", "the request's body sent back as it comes"),
    ("/bytes/{n}", "n bytes, at most 10 GiB"),
    (
        "/delay/{ms}",
        "an answer after so many milliseconds, at most 60000",
    ),
    ("/status/{code}", "an answer with that status"),
    ("/sse", "a server-sent event each second"),
];

pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    with(status, "text/plain; charset=utf-8", full(text))
}

pub(super) fn page(request: &Request<Incoming>) -> Response<Body> {
    let accept = request.headers().get(header::ACCEPT);
    let html = accept.is_some_and(|accept| accept.as_bytes().windows(9).any(|w| w == b"text/html"));
    if !html {
        let paths: serde_json::Map<String, Value> = PATHS
            .iter()
            .map(|(path, what)| (path.to_string(), json!(what)))
            .collect();
        return as_json(json!({ "message": "Hello from behind Tidegate", "paths": paths }));
    }
    let rows: String = PATHS
        .iter()
        .map(|(path, what)| format!("<dt><code>{path}</code><dd>{what}\n"))
        .collect();
    let page = include_str!("page.html").replace("{paths}", &rows);
    with(StatusCode::OK, "text/html; charset=utf-8", full(page))
}

pub(super) async fn echo(request: Request<Incoming>) -> Response<Body> {
    let (head, mut body) = request.into_parts();
    let mut shown = BytesMut::new();
    let mut received = 0_u64;
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => {
                received += data.len() as u64;
                let room = ECHO_SHOWN - shown.len();
                shown.extend_from_slice(&data[..data.len().min(room)]);
            }
            Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
            Err(error) => {
                return text(
                    StatusCode::BAD_REQUEST,
                    format!("the body broke off: {error}\n"),
                );
            }
        }
    }
    let mut answer = json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "version": format!("{:?}", head.version),
        "headers": fields(&head.headers),
        "body_bytes": received,
    });
    if received > 0 {
        answer["body"] = String::from_utf8_lossy(&shown).into();
    }
    if let Some(trailers) = trailers {
        answer["trailers"] = fields(&trailers);
    }
    as_json(answer)
}

pub(super) fn mirror(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(UnsyncBoxBody::new(body));
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
        if let Some(value) = head.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

pub(super) fn bytes(count: &str) -> Response<Body> {
    let Some(count) = number(count, BYTES_MOST) else {
        return text(
            StatusCode::BAD_REQUEST,
            format!("expected /bytes/N, N up to {BYTES_MOST}\n"),
        );
    };
    let piece = Bytes::from(b"tide".repeat(PIECE / 4));
    let pieces = stream::unfold((count, piece), async |(left, piece)| {
        let size = left.min(PIECE as u64);
        (size > 0).then(|| (piece.slice(..size as usize), (left - size, piece)))
    });
    let mut response = with(
        StatusCode::OK,
        "application/octet-stream",
        super::stream(pieces),
    );
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, count.into());
    response
}

pub(super) async fn delay(millis: &str) -> Response<Body> {
    let Some(millis) = number(millis, DELAY_MOST) else {
        return text(
            StatusCode::BAD_REQUEST,
            format!("expected /delay/MS, up to {DELAY_MOST}\n"),
        );
    };
    tokio::time::sleep(Duration::from_millis(millis)).await;
    text(StatusCode::OK, format!("waited {millis} ms\n"))
}

pub(super) fn status(code: &str) -> Response<Body> {
    let code = code.parse().ok().filter(|code| (200..600).contains(code));
    match code.and_then(|code| StatusCode::from_u16(code).ok()) {
        Some(code @ (StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)) => {
            let mut response = Response::new(full(""));
            *response.status_mut() = code;
            response
        }
        Some(code) => text(code, format!("{code}\n")),
        None => text(
            StatusCode::BAD_REQUEST,
            "expected /status/CODE, 200 to 599\n",
        ),
    }
}

pub(super) fn ticks() -> Response<Body> {
    let events = stream::unfold(0_u64, async |count| {
        if count > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Some((
            Bytes::from(format!("event: tick\ndata: {count}\n\n")),
            count + 1,
        ))
    });
    let mut response = with(StatusCode::OK, "text/event-stream", super::stream(events));
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}

fn number(text: &str, most: u64) -> Option<u64> {
    text.parse().ok().filter(|number| *number <= most)
}

/// Every field in order; a name that comes twice has a list.
fn fields(headers: &HeaderMap) -> Value {
    let mut fields = serde_json::Map::new();
    for name in headers.keys() {
        let mut values: Vec<Value> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into())
            .collect();
        let value = if values.len() == 1 {
            values.remove(0)
        } else {
            values.into()
        };
        fields.insert(name.to_string(), value);
    }
    fields.into()
}

fn as_json(value: Value) -> Response<Body> {
    with(
        StatusCode::OK,
        "application/json",
        full(format!("{value:#}\n")),
    )
}

fn full(content: impl Into<Bytes>) -> Body {
    UnsyncBoxBody::new(Full::new(content.into()).map_err(|never| match never {}))
}

fn with(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}
