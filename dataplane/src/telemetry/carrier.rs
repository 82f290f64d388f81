//! Header sections as OpenTelemetry's propagator reads and writes them.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector};

pub(super) struct Incoming<'a> {
    headers: &'a HeaderMap,
    /// `tracestate` may come in several fields (W3C Trace Context 3.3.1.1).
    state: String,
}

impl<'a> Incoming<'a> {
    pub(super) fn new(headers: &'a HeaderMap) -> Self {
        let fields = headers.get_all(STATE).iter();
        let fields: Vec<_> = fields.filter_map(|field| field.to_str().ok()).collect();
        Self {
            headers,
            state: fields.join(","),
        }
    }
}

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        if key == STATE {
            return Some(&self.state);
        }
        self.headers.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.headers.keys().map(HeaderName::as_str).collect()
    }
}

pub(super) struct Outgoing<'a>(pub(super) &'a mut HeaderMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        // An empty tracestate need not be sent.
        if value.is_empty() {
            return;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

/// Names of fields come from the propagator in lower case.
pub(super) const STATE: &str = "tracestate";
