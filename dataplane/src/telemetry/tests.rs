use std::{
    mem,
    sync::{Arc, Mutex},
};

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use opentelemetry::trace::{SpanKind, Status, TracerProvider as _};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};

use super::Telemetry;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn client_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    let parent = format!("00-{TRACE}-{PARENT}-01");
    headers.insert("traceparent", HeaderValue::try_from(parent).unwrap());
    headers.append("tracestate", HeaderValue::from_static("one=1"));
    headers.append("tracestate", HeaderValue::from_static("two=2"));
    headers
}

#[derive(Clone, Debug, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Ended {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// Runs `work` with a tracer and returns the spans that it ended.
fn spans(work: impl FnOnce(&Telemetry)) -> Vec<SpanData> {
    let ended = Ended::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(ended.clone())
        .build();
    work(&Telemetry::new(Some(provider.tracer("test"))));
    mem::take(&mut *ended.0.lock().unwrap())
}

#[test]
fn without_a_tracer_the_clients_context_passes_unchanged() {
    let telemetry = Telemetry::default();
    let mut headers = client_headers();
    let mut trace = telemetry.start_request(&Method::GET, "/", &headers);
    trace.inject(&mut headers);
    trace.finish(StatusCode::OK);
    assert_eq!(headers, client_headers());
}

#[test]
fn upstream_is_called_below_a_span_that_is_below_the_clients() {
    let mut headers = client_headers();
    let spans = spans(|telemetry| {
        let mut trace = telemetry.start_request(&Method::POST, "/cart", &headers);
        trace.routed("HTTPRoute/default/shop");
        trace.inject(&mut headers);
        trace.finish(StatusCode::CREATED);
    });
    let [span] = &spans[..] else {
        panic!("one span, not {spans:?}")
    };
    assert_eq!(span.span_context.trace_id().to_string(), TRACE);
    assert_eq!(span.parent_span_id.to_string(), PARENT);
    assert_eq!(span.span_kind, SpanKind::Server);
    assert_eq!(span.status, Status::Unset);
    let attribute = |key: &str| {
        let found = span
            .attributes
            .iter()
            .find(|attribute| attribute.key.as_str() == key);
        found
            .map(|attribute| attribute.value.to_string())
            .unwrap_or_default()
    };
    assert_eq!(attribute("http.request.method"), "POST");
    assert_eq!(attribute("url.path"), "/cart");
    assert_eq!(attribute("http.response.status_code"), "201");
    assert_eq!(attribute("tidegate.route"), "HTTPRoute/default/shop");

    let own = span.span_context.span_id();
    assert_eq!(headers["traceparent"], format!("00-{TRACE}-{own}-01"));
    let states: Vec<_> = headers.get_all("tracestate").iter().collect();
    assert_eq!(states, ["one=1,two=2"]);
}

#[test]
fn a_context_that_is_broken_begins_a_new_trace() {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", HeaderValue::from_static("00-zzz-1-01"));
    headers.insert("tracestate", HeaderValue::from_static("one=1"));
    let spans = spans(|telemetry| {
        let mut trace = telemetry.start_request(&Method::GET, "/", &headers);
        trace.inject(&mut headers);
        trace.finish(StatusCode::OK);
    });
    let context = &spans[0].span_context;
    assert!(context.is_valid());
    let expected = format!("00-{}-{}-01", context.trace_id(), context.span_id());
    assert_eq!(headers["traceparent"], expected);
    assert!(
        !headers.contains_key("tracestate"),
        "of a trace that this one is no part of"
    );
}

#[test]
fn only_faults_of_this_side_are_errors() {
    let statuses = [
        (StatusCode::NOT_FOUND, false),
        (StatusCode::TOO_MANY_REQUESTS, false),
        (StatusCode::BAD_GATEWAY, true),
    ];
    for (status, error) in statuses {
        let spans = spans(|telemetry| {
            telemetry
                .start_request(&Method::GET, "/", &HeaderMap::new())
                .finish(status);
        });
        assert_eq!(
            matches!(spans[0].status, Status::Error { .. }),
            error,
            "{status}"
        );
    }
}

#[test]
fn a_request_that_is_dropped_ends_its_span_once_and_says_so() {
    let spans = spans(|telemetry| {
        drop(telemetry.start_request(&Method::GET, "/", &HeaderMap::new()));
    });
    let [span] = &spans[..] else {
        panic!("one span, not {spans:?}")
    };
    assert_eq!(span.status, Status::error("cancelled"));
}
