//! What the upstream answers, by path.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Seen, SeenBody, Shared};
use crate::{
    client::{Body, BoxError, empty},
    payload::{Payload, hex},
};

pub(super) async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    connection: u64,
) -> Response<Body> {
    let index = note(&request, &shared, connection);
    let guard = Guard::new(shared.clone());
    let path = request.uri().path().to_owned();
    let mut parts = path.trim_start_matches('/').split('/');
    let mut response = match (parts.next().unwrap_or_default(), parts.next()) {
        ("bytes", Some(length)) => bytes(length.parse().unwrap_or(0)),
        ("mirror", _) => mirror(request),
        ("endless", _) => endless(shared.clone()),
        ("gate", Some(gate)) => {
            let mut gates = shared.gates.subscribe();
            let _ = gates.wait_for(|open| open.contains(gate)).await;
            Response::new(empty())
        }
        ("never", _) => std::future::pending().await,
        ("status", Some(status)) => {
            let mut response = Response::new(empty());
            *response.status_mut() = status.parse().unwrap_or(StatusCode::IM_A_TEAPOT);
            response
        }
        _ => describe(request, &shared, index).await,
    };
    if let Ok(name) = HeaderValue::from_str(&shared.name) {
        response.headers_mut().insert("x-upstream", name);
    }
    let promised = response
        .headers()
        .get("content-length")
        .and_then(|length| length.to_str().ok()?.parse().ok());
    response.map(|body| Watched::new(body, guard, promised).boxed_unsync())
}

/// Its place among what was seen, where that is kept.
fn note(request: &Request<Incoming>, shared: &Shared, connection: u64) -> Option<usize> {
    if !shared.records {
        return None;
    }
    let uri = request.uri();
    let host = request
        .headers()
        .get("host")
        .and_then(|host| host.to_str().ok());
    let authority = uri
        .authority()
        .map(|authority| authority.as_str())
        .or(host)
        .unwrap_or_default();
    let mut seen = shared.seen.lock().expect("no panic holds it");
    seen.push(Seen {
        method: request.method().to_string(),
        target: uri
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default(),
        version: request.version(),
        headers: request.headers().clone(),
        authority: authority.to_owned(),
        connection,
        body: None,
    });
    Some(seen.len() - 1)
}

fn bytes(length: u64) -> Response<Body> {
    let frames = Payload::of(length)
        .stream()
        .map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
    let body = StreamBody::new(frames).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    response
        .headers_mut()
        .insert("content-length", length.into());
    response
}

fn mirror(request: Request<Incoming>) -> Response<Body> {
    let body = request.into_body();
    let ended = stream::unfold((body, false), |(mut body, done)| async move {
        if done {
            return None;
        }
        match body.frame().await {
            Some(Ok(frame)) if frame.is_data() => Some((Ok(frame), (body, false))),
            Some(Err(error)) => Some((Err(error.into()), (body, true))),
            last => {
                let mut trailers = match last {
                    Some(Ok(frame)) => frame.into_trailers().unwrap_or_default(),
                    _ => HeaderMap::new(),
                };
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                Some((Ok::<_, BoxError>(Frame::trailers(trailers)), (body, true)))
            }
        }
    });
    let mut response = Response::new(StreamBody::new(ended).boxed_unsync());
    // HTTP/1.1 sends only the trailers that were announced.
    response.headers_mut().insert(
        "trailer",
        HeaderValue::from_static("grpc-status, x-checksum"),
    );
    response
}

fn endless(shared: Arc<Shared>) -> Response<Body> {
    let frames = Payload::of(u64::MAX).stream().map(move |piece| {
        shared
            .produced
            .fetch_add(piece.len() as u64, Ordering::SeqCst);
        Ok::<_, Infallible>(Frame::data(piece))
    });
    let body = StreamBody::new(frames).map_err(|never| match never {});
    Response::new(body.boxed_unsync())
}

async fn describe(
    request: Request<Incoming>,
    shared: &Shared,
    index: Option<usize>,
) -> Response<Body> {
    let (parts, mut body) = request.into_parts();
    let (mut hash, mut seen) = (Sha256::new(), SeenBody::default());
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => {
                seen.length += data.len() as u64;
                hash.update(&data);
            }
            Ok(Err(frame)) => seen.trailers = frame.into_trailers().unwrap_or_default(),
            Err(_) => {
                seen.broken = true;
                break;
            }
        }
    }
    seen.sha256 = hex(&hash.finalize());
    let headers: Vec<Value> = (parts.headers.iter())
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let description = json!({
        "upstream": shared.name,
        "method": parts.method.as_str(),
        "target": parts.uri.path_and_query().map(ToString::to_string),
        "version": format!("{:?}", parts.version),
        "headers": headers,
        "length": seen.length,
        "sha256": seen.sha256,
    });
    if let Some(index) = index {
        shared.seen.lock().expect("no panic holds it")[index].body = Some(seen);
    }
    let mut response = Response::new(crate::client::body_of(description.to_string()));
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/json"));
    response
}

/// Counts a request as active, and as cancelled unless it came to its end.
struct Guard {
    shared: Arc<Shared>,
    ended: bool,
}

impl Guard {
    fn new(shared: Arc<Shared>) -> Self {
        shared.active.fetch_add(1, Ordering::SeqCst);
        Self {
            shared,
            ended: false,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shared.active.fetch_sub(1, Ordering::SeqCst);
        if !self.ended {
            self.shared.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A body that tells its guard when it was sent whole.
struct Watched {
    body: Body,
    guard: Guard,
    /// Bytes still to come, where the head promised a number.
    left: Option<u64>,
}

impl Watched {
    fn new(body: Body, mut guard: Guard, promised: Option<u64>) -> Self {
        guard.ended = body.is_end_stream();
        Self {
            body,
            guard,
            left: promised,
        }
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let (Poll::Ready(Some(Ok(frame))), Some(left)) = (&frame, self.left) {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            self.left = Some(left.saturating_sub(length));
        }
        let whole =
            matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() || self.left == Some(0);
        self.guard.ended |= whole;
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
