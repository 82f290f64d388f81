//! The task of one request.

use std::{future::poll_fn, pin::Pin, rc::Rc};

use http::Request;
use http_body::Body as _;

use super::{H3_INTERNAL_ERROR, stream::Shared};
use crate::proxy::{Body, Origin, serve};

/// Serves a request and hands the response over as the client takes it.
pub(super) async fn respond(origin: Rc<Origin>, stream: Rc<Shared>, request: Request<Body>) {
    let response = serve(&origin, request, &|head| stream.interim(head)).await;
    let (parts, mut body) = response.into_parts();
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
                    let end = body.is_end_stream();
                    stream.piece(piece, end).await;
                    if end {
                        return;
                    }
                }
                Err(frame) => return stream.end(frame.into_trailers().ok()),
            },
        }
    }
}
