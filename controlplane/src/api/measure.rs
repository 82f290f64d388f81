//! How long requests take, as a metric and as a span. Paths are counted by their route,
//! so that ids do not become labels.

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use opentelemetry::KeyValue;
use opentelemetry_sdk::trace::SdkTracer;
use opentelemetry_semantic_conventions::attribute as semconv;
use tokio::time::Instant;

use crate::telemetry::{Instruments, RequestTrace};

/// Where measurements go.
#[derive(Clone)]
pub(crate) struct Measure {
    pub(crate) instruments: Instruments,
    pub(crate) tracer: Option<SdkTracer>,
}

pub(crate) async fn measure(
    State(measure): State<Measure>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or("unknown", MatchedPath::as_str).to_owned();
    let started = Instant::now();
    let tracer = measure.tracer.as_ref();
    let trace = RequestTrace::start(tracer, &method, &route, request.headers());
    let response = next.run(request).await;
    let status = response.status();
    trace.finish(status);
    measure.instruments.request_duration.record(
        started.elapsed().as_secs_f64(),
        &[
            KeyValue::new(semconv::HTTP_REQUEST_METHOD, known(&method)),
            KeyValue::new(semconv::HTTP_ROUTE, route),
            KeyValue::new(
                semconv::HTTP_RESPONSE_STATUS_CODE,
                i64::from(status.as_u16()),
            ),
        ],
    );
    response
}

/// Methods of one's own would be labels without end (`_OTHER` of the HTTP conventions).
fn known(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        _ => "_OTHER",
    }
}
