//! `/v1/connections/{id}/qlog` and its like: what is written down of connections, as it comes.

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::header;
use tidegate_proto::v1;

use crate::api::{
    failure::Failure,
    operations::{Capture, Operations},
    respond::{Id, JsonBody},
    types::{CaptureKeyLog, CaptureNextQlog, CaptureQlog, Problem, QlogLevel},
};

/// JSON text sequences (RFC 7464) of draft-ietf-quic-qlog-main-schema.
const QLOG: &str = "application/qlog+json-seq";
const KEY_LOG: &str = "text/plain; charset=utf-8";

/// Write qlog of a connection
///
/// The answer is the qlog of the connection from now on, as it is written: JSON text
/// sequences, which qvis and others read. It ends with the connection, when its time is
/// over, or when it is long enough; the last event, `tidegate:capture_ended`, says which it
/// was. A client that reads too slowly gets an event `tidegate:records_lost` in place of what
/// was left out. It ends also when the client goes away. Only of QUIC connections.
#[utoipa::path(
    post, path = "/v1/connections/{id}/qlog", tag = "captures", operation_id = "captureQlog",
    params(("id" = String, Path, description = "Connection id")),
    request_body = Option<CaptureQlog>,
    responses(
        (status = 200, description = "qlog as it is written", body = String, content_type = "application/qlog+json-seq"),
        (status = 400, description = "No connection id, not a QUIC connection, or no such limits", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "It has ended, or its dataplane is not connected", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "It is captured already, or as many are as may be", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The dataplane does not answer", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn qlog(
    State(operations): State<Operations>,
    Id(connection_id): Id,
    JsonBody(capture): JsonBody<CaptureQlog>,
) -> Result<Response, Failure> {
    let CaptureQlog {
        duration_ms,
        max_bytes,
        level,
    } = capture;
    let request = v1::CaptureQlogRequest {
        connection_id,
        limits: limits(duration_ms, max_bytes),
        level: wire_level(level),
    };
    Ok(streamed(QLOG, operations.capture_qlog(request).await?))
}

/// Write qlog of the next connection
///
/// As of a live one, but from its first packet on, handshake included: of the next
/// connection from these addresses, whichever dataplane it reaches. The time counts from
/// the request.
#[utoipa::path(
    post, path = "/v1/connections/next/qlog", tag = "captures", operation_id = "captureNextQlog",
    request_body = Option<CaptureNextQlog>,
    responses(
        (status = 200, description = "qlog as it is written", body = String, content_type = "application/qlog+json-seq"),
        (status = 400, description = "No range of addresses, or no such limits", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No dataplane is connected", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "As many captures as may be are under way", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "A dataplane does not answer", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn next_qlog(
    State(operations): State<Operations>,
    JsonBody(capture): JsonBody<CaptureNextQlog>,
) -> Result<Response, Failure> {
    let CaptureNextQlog {
        peer,
        duration_ms,
        max_bytes,
        level,
    } = capture;
    let request = v1::CaptureNextQlogRequest {
        peer,
        limits: limits(duration_ms, max_bytes),
        level: wire_level(level),
    };
    Ok(streamed(QLOG, operations.capture_next_qlog(request).await?))
}

/// Write the key log of the next connections
///
/// TLS secrets of the next connections from these addresses for this server name, QUIC and
/// TCP alike, as lines of an NSS key log (`SSLKEYLOGFILE`). Whoever has them and recorded
/// the packets can read all that those connections carry, so this has a permission of its
/// own. TLS tells its secrets while it makes them: of a connection that lives already there
/// are none to be had. Ends as a qlog does, with a comment that says why.
#[utoipa::path(
    post, path = "/v1/connections/next/keylog", tag = "captures", operation_id = "captureKeyLog",
    request_body = Option<CaptureKeyLog>,
    responses(
        (status = 200, description = "Lines of a key log as they are written", body = String, content_type = "text/plain"),
        (status = 400, description = "No range of addresses, or no such limits", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No dataplane is connected", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "As many captures as may be are under way", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "A dataplane does not answer", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn key_log(
    State(operations): State<Operations>,
    JsonBody(capture): JsonBody<CaptureKeyLog>,
) -> Result<Response, Failure> {
    let CaptureKeyLog {
        server_name,
        peer,
        connections,
        duration_ms,
        max_bytes,
    } = capture;
    let request = v1::CaptureKeyLogRequest {
        server_name,
        peer,
        connections,
        limits: limits(duration_ms, max_bytes),
    };
    Ok(streamed(
        KEY_LOG,
        operations.capture_key_log(request).await?,
    ))
}

fn limits(duration_ms: u64, max_bytes: u64) -> Option<v1::CaptureLimits> {
    Some(v1::CaptureLimits {
        duration_ms,
        max_bytes,
    })
}

fn wire_level(level: QlogLevel) -> i32 {
    match level {
        QlogLevel::Core => v1::QlogLevel::Core,
        QlogLevel::Base => v1::QlogLevel::Base,
        QlogLevel::Extra => v1::QlogLevel::Extra,
    }
    .into()
}

/// An answer that is sent as it comes. It breaks off when the capture does.
fn streamed(kind: &'static str, capture: Capture) -> Response {
    let pieces = stream::unfold(capture, async |mut capture| {
        let piece: Result<Bytes, Failure> = capture.next().await?;
        Some((piece, capture))
    });
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Body::from_stream(pieces)).into_response()
}
