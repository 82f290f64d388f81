//! The histograms of finished requests, one series for each set of attributes.

use std::sync::{Mutex, PoisonError};

use http::{Method, StatusCode};
use opentelemetry::{
    KeyValue,
    metrics::{BoundHistogram, Histogram, Meter},
};
use opentelemetry_semantic_conventions::attribute as semconv;
use rustc_hash::FxHashMap;

use super::{RequestEnd, VERSIONS};

/// Boundaries that the semantic conventions ask for, in seconds.
const DURATION_BOUNDARIES: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// Powers of four from 256 bytes to 64 MiB, and what an empty body is.
const SIZE_BOUNDARIES: [f64; 11] = [
    0.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// Most series that one shard remembers. Routes come and go with the configuration;
/// beyond this, all are looked up anew.
const REMEMBERED: usize = 4096;

/// Attributes of a request, but for its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Labels {
    method: &'static str,
    status: u16,
    version: usize,
    scheme: &'static str,
    error: Option<&'static str>,
}

#[derive(Debug)]
struct Bound {
    duration: BoundHistogram<f64>,
    request_size: BoundHistogram<u64>,
    response_size: BoundHistogram<u64>,
}

#[derive(Debug, Default)]
struct Known {
    by_route: FxHashMap<Box<str>, FxHashMap<Labels, Bound>>,
    count: usize,
}

#[derive(Debug)]
pub(super) struct Series {
    duration: Histogram<f64>,
    request_size: Histogram<u64>,
    response_size: Histogram<u64>,
    /// Only the shard's own thread takes this lock, so that it is always free.
    known: Mutex<Known>,
}

impl Series {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            duration: meter
                .f64_histogram("http.server.request.duration")
                .with_description("Duration of HTTP server requests.")
                .with_unit("s")
                .with_boundaries(DURATION_BOUNDARIES.to_vec())
                .build(),
            request_size: meter
                .u64_histogram("http.server.request.body.size")
                .with_description("Size of HTTP server request bodies.")
                .with_unit("By")
                .with_boundaries(SIZE_BOUNDARIES.to_vec())
                .build(),
            response_size: meter
                .u64_histogram("http.server.response.body.size")
                .with_description("Size of HTTP server response bodies.")
                .with_unit("By")
                .with_boundaries(SIZE_BOUNDARIES.to_vec())
                .build(),
            known: Mutex::default(),
        }
    }

    pub(super) fn record(&self, end: &RequestEnd<'_>, version: usize) {
        let labels = Labels {
            method: method_label(end.method),
            status: end.status.as_u16(),
            version,
            scheme: end.scheme,
            error: end.error,
        };
        let route = end.route.unwrap_or_default();
        let known = &mut *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bound) = known
            .by_route
            .get(route)
            .and_then(|series| series.get(&labels))
        {
            return bound.record(end);
        }
        if known.count >= REMEMBERED {
            *known = Known::default();
        }
        let bound = self.bind(&labels, route);
        bound.record(end);
        known
            .by_route
            .entry(route.into())
            .or_default()
            .insert(labels, bound);
        known.count += 1;
    }

    fn bind(&self, labels: &Labels, route: &str) -> Bound {
        let mut attributes = vec![
            KeyValue::new(semconv::HTTP_REQUEST_METHOD, labels.method),
            KeyValue::new(semconv::HTTP_RESPONSE_STATUS_CODE, i64::from(labels.status)),
            KeyValue::new(semconv::NETWORK_PROTOCOL_VERSION, VERSIONS[labels.version]),
            KeyValue::new(semconv::URL_SCHEME, labels.scheme),
        ];
        if !route.is_empty() {
            attributes.push(KeyValue::new("tidegate.route", route.to_owned()));
        }
        if let Some(error) = labels.error {
            attributes.push(KeyValue::new(semconv::ERROR_TYPE, error));
        } else if StatusCode::from_u16(labels.status).is_ok_and(|status| status.is_server_error()) {
            attributes.push(KeyValue::new(
                semconv::ERROR_TYPE,
                labels.status.to_string(),
            ));
        }
        Bound {
            duration: self.duration.bind(&attributes),
            request_size: self.request_size.bind(&attributes),
            response_size: self.response_size.bind(&attributes),
        }
    }
}

impl Bound {
    fn record(&self, end: &RequestEnd<'_>) {
        self.duration.record(end.duration.as_secs_f64());
        self.request_size.record(end.request_bytes);
        self.response_size.record(end.response_bytes);
    }
}

/// Methods that are not known are one value, so that a client cannot make series.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        Method::PATCH => "PATCH",
        _ => "_OTHER",
    }
}
