//! What the control plane tells of itself: metrics, and traces of admin requests.
//!
//! Metrics are always there as Prometheus text; metrics and traces also go to an
//! OpenTelemetry collector where one is named. Providers are values, never globals,
//! because two planes may share a process. Logs are `tracing` events; whoever owns the
//! process decides where they go.

mod instruments;
mod requests;

use std::{env, time::Duration};

use opentelemetry::{KeyValue, metrics::MeterProvider as _, trace::TracerProvider as _};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
    trace::{SdkTracer, SdkTracerProvider},
};
use opentelemetry_semantic_conventions::attribute as semconv;
use prometheus::{Registry, TextEncoder};

pub(crate) use self::{instruments::Instruments, requests::RequestTrace};

/// Names the collector to which both planes report.
const ENDPOINT_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Longest wait for a collector that does not answer, at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Why telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The collector's address is of no use.
    #[error("{ENDPOINT_VARIABLE}: {0}")]
    Endpoint(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The Prometheus exporter refused its settings.
    #[error("Prometheus exporter: {0}")]
    Prometheus(#[from] opentelemetry_sdk::error::OTelSdkError),
}

/// The providers of one control plane.
pub struct Telemetry {
    registry: Registry,
    meters: SdkMeterProvider,
    tracers: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Reports to the collector that the environment names, if it names one. Must run
    /// inside a tokio runtime.
    pub fn from_env() -> Result<Self, TelemetryError> {
        let endpoint = env::var(ENDPOINT_VARIABLE)
            .ok()
            .filter(|endpoint| !endpoint.is_empty());
        Self::new(endpoint.as_deref())
    }

    /// Reports to the collector at `endpoint`, or to none.
    pub fn new(endpoint: Option<&str>) -> Result<Self, TelemetryError> {
        let registry = Registry::new();
        // Neither is of use in the text of one process, where two planes would give both.
        let prometheus = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .scope_info_enabled(false)
            .build()?;
        let mut meters = SdkMeterProvider::builder()
            .with_resource(resource())
            .with_reader(prometheus);
        let mut tracers = None;
        if let Some(endpoint) = endpoint {
            let metrics = MetricExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .build()?;
            meters = meters.with_reader(PeriodicReader::builder(metrics).build());
            let spans = SpanExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .build()?;
            let provider = SdkTracerProvider::builder().with_resource(resource());
            tracers = Some(provider.with_batch_exporter(spans).build());
        }
        Ok(Self {
            registry,
            meters: meters.build(),
            tracers,
        })
    }

    /// Every counter of the control plane.
    pub(crate) fn instruments(&self) -> Instruments {
        Instruments::new(&self.meters.meter(SCOPE))
    }

    /// Makes spans, where a collector takes them.
    pub(crate) fn tracer(&self) -> Option<SdkTracer> {
        self.tracers.as_ref().map(|tracers| tracers.tracer(SCOPE))
    }

    /// All metrics in Prometheus' text format.
    pub fn prometheus_text(&self) -> String {
        // Encoding into memory fails only on a family without a name; there is none.
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_default()
    }

    /// Sends what waits to the collector. Blocks up to a few seconds.
    pub(crate) fn flush(&self) {
        // A collector that is gone is no reason to fail: it is said in the SDK's own log.
        let _ = self.meters.shutdown_with_timeout(FLUSH_TIMEOUT);
        if let Some(tracers) = &self.tracers {
            let _ = tracers.shutdown_with_timeout(FLUSH_TIMEOUT);
        }
    }
}

const SCOPE: &str = "tidegate.controlplane";

fn resource() -> Resource {
    Resource::builder()
        .with_service_name("tidegate-controlplane")
        .with_attribute(KeyValue::new(
            semconv::SERVICE_VERSION,
            env!("CARGO_PKG_VERSION"),
        ))
        .build()
}

#[cfg(test)]
mod tests;
