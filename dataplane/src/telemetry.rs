//! Traces of requests, with W3C Trace Context (<https://www.w3.org/TR/trace-context/>)
//! through the proxy.
//!
//! The proxy [starts](Telemetry::start_request) a trace for each request and
//! [injects](RequestTrace::inject) it into what it sends upstream. Without a collector
//! there are no spans, and the client's context goes through as it came. Nothing here is
//! global: two planes may share a process.

mod carrier;
pub(crate) mod otlp;

use http::{HeaderMap, Method, StatusCode};
use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator,
    trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{SdkTracer, Span},
};
use opentelemetry_semantic_conventions::attribute as semconv;

use self::carrier::{Incoming, Outgoing, STATE};

/// Makes the traces of requests. Shared by all shards.
#[derive(Debug, Default)]
pub struct Telemetry {
    tracer: Option<SdkTracer>,
    propagator: TraceContextPropagator,
}

impl Telemetry {
    /// Spans go to `tracer`; without one there are none.
    pub fn new(tracer: Option<SdkTracer>) -> Self {
        Self {
            tracer,
            propagator: TraceContextPropagator::new(),
        }
    }

    /// Begins a server span for a request, below the client's if it named one.
    pub fn start_request(&self, method: &Method, path: &str, headers: &HeaderMap) -> RequestTrace {
        let Some(tracer) = &self.tracer else {
            return RequestTrace { span: None };
        };
        let parent = self
            .propagator
            .extract_with_context(&Context::new(), &Incoming::new(headers));
        let span = tracer
            .span_builder(method.as_str().to_owned())
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new(semconv::HTTP_REQUEST_METHOD, method.as_str().to_owned()),
                KeyValue::new(semconv::URL_PATH, path.to_owned()),
            ])
            .start_with_context(tracer, &parent);
        RequestTrace {
            span: Some(Box::new(span)),
        }
    }
}

/// The trace of one request. Dropped before it is [finished](Self::finish), the span says
/// that the request was cancelled.
#[derive(Debug)]
pub struct RequestTrace {
    /// In a box, because it is large, and most gateways have no collector.
    span: Option<Box<Span>>,
}

impl RequestTrace {
    /// Puts this request's context in place of the client's. Without a tracer the
    /// client's `traceparent` and `tracestate` stay as they are.
    pub fn inject(&self, headers: &mut HeaderMap) {
        let Some(span) = &self.span else { return };
        let context = Context::new().with_remote_span_context(span.span_context().clone());
        headers.remove(STATE);
        TraceContextPropagator::new().inject_context(&context, &mut Outgoing(headers));
    }

    /// Names the route that serves the request.
    pub fn routed(&mut self, route: &str) {
        if let Some(span) = &mut self.span {
            span.set_attribute(KeyValue::new("tidegate.route", route.to_owned()));
        }
    }

    /// Ends the span with the status that the client was sent.
    pub fn finish(&mut self, status: StatusCode) {
        let Some(mut span) = self.span.take() else {
            return;
        };
        span.set_attribute(KeyValue::new(
            semconv::HTTP_RESPONSE_STATUS_CODE,
            i64::from(status.as_u16()),
        ));
        // A server span is an error when the server is at fault, not the client.
        if status.is_server_error() {
            span.set_status(Status::error(status.to_string()));
        }
        span.end();
    }
}

impl Drop for RequestTrace {
    fn drop(&mut self) {
        if let Some(span) = &mut self.span {
            span.set_attribute(KeyValue::new(semconv::ERROR_TYPE, "cancelled"));
            span.set_status(Status::error("cancelled"));
            span.end();
        }
    }
}

#[cfg(test)]
mod tests;
