//! The span of one admin request, below the caller's if it named one (W3C Trace Context).

use http::{HeaderMap, HeaderName, Method, StatusCode};
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator},
    trace::{Span as _, SpanKind, Status, Tracer as _},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{SdkTracer, Span},
};
use opentelemetry_semantic_conventions::attribute as semconv;

/// Dropped before it is finished, it still ends.
pub(crate) struct RequestTrace(Option<Span>);

impl RequestTrace {
    /// Begins a span. Without a tracer there is none.
    pub(crate) fn start(
        tracer: Option<&SdkTracer>,
        method: &Method,
        route: &str,
        headers: &HeaderMap,
    ) -> Self {
        Self(tracer.map(|tracer| {
            let parent = TraceContextPropagator::new()
                .extract_with_context(&Context::new(), &Fields(headers));
            tracer
                .span_builder(format!("{method} {route}"))
                .with_kind(SpanKind::Server)
                .with_attributes([
                    KeyValue::new(semconv::HTTP_REQUEST_METHOD, method.as_str().to_owned()),
                    KeyValue::new(semconv::HTTP_ROUTE, route.to_owned()),
                ])
                .start_with_context(tracer, &parent)
        }))
    }

    /// Ends the span with the status that was sent.
    pub(crate) fn finish(self, status: StatusCode) {
        let Some(mut span) = self.0 else { return };
        let code = i64::from(status.as_u16());
        span.set_attribute(KeyValue::new(semconv::HTTP_RESPONSE_STATUS_CODE, code));
        if status.is_server_error() {
            span.set_status(Status::error(status.as_str().to_owned()));
        }
        span.end();
    }
}

struct Fields<'a>(&'a HeaderMap);

impl Extractor for Fields<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use opentelemetry::trace::{SpanId, TraceId, TracerProvider as _};
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};

    use super::*;

    #[test]
    fn a_span_belongs_to_the_callers_trace() {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .build();
        let mut headers = HeaderMap::new();
        headers.insert(
            "traceparent",
            HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        );
        let tracer = provider.tracer("test");
        let route = "/v1/connections/{id}";
        RequestTrace::start(Some(&tracer), &Method::GET, route, &headers)
            .finish(StatusCode::GATEWAY_TIMEOUT);

        let spans = exporter.get_finished_spans().unwrap();
        let [span] = &spans[..] else {
            panic!("one span, not {}", spans.len())
        };
        let trace = TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").unwrap();
        assert_eq!(span.span_context.trace_id(), trace);
        assert_eq!(
            span.parent_span_id,
            SpanId::from_hex("b7ad6b7169203331").unwrap()
        );
        assert_eq!(span.name, "GET /v1/connections/{id}");
        assert_eq!(span.status, Status::error("504"));
    }
}
