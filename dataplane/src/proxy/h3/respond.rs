//! The task of one request.

use std::{future::poll_fn, pin::Pin, rc::Rc};

use bytes::Bytes;
use http::Request;
use http_body::Body as _;
use tokio::time::{Instant, timeout_at};

use super::{
    H3_CONNECT_ERROR, H3_INTERNAL_ERROR, H3_REQUEST_CANCELLED, stream::Shared, tunnel::Client,
};
use crate::proxy::{Body, Origin, serve};

/// Serves a request and hands the response over as the client takes it.
pub(super) async fn respond(origin: Rc<Origin>, stream: Rc<Shared>, request: Box<Request<Body>>) {
    let response = serve(&origin, request, &|head| stream.interim(head)).await;
    let (parts, mut body) = response.into_parts();
    if let Some(mut tunnel) = body.take_tunnel() {
        stream.head(parts, false);
        let client = Client::new(tunnel.take_client(), stream.clone());
        if !Box::pin(tunnel.run(client, Bytes::new())).await {
            stream.abort(H3_CONNECT_ERROR);
        }
        return;
    }
    let end = body.is_end_stream();
    stream.head(parts, end);
    if end {
        return;
    }
    loop {
        match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            None => return stream.end(None),
            Some(Err(_)) => return stream.abort(H3_INTERNAL_ERROR),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(piece) => {
                    if !stream.has_room() {
                        let patience = origin.limits(|limits| limits.body_idle_timeout);
                        let idle = Instant::now() + patience;
                        let until = body.deadline().map_or(idle, |deadline| deadline.min(idle));
                        if timeout_at(until, stream.room()).await.is_err() {
                            return stream.abort(H3_REQUEST_CANCELLED);
                        }
                    }
                    let end = body.is_end_stream();
                    stream.put(piece, end);
                    if end {
                        return;
                    }
                }
                Err(frame) => return stream.end(frame.into_trailers().ok()),
            },
        }
    }
}
