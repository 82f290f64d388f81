//! The way to an OpenTelemetry collector (OTLP over gRPC).

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider},
};
use opentelemetry_semantic_conventions::attribute as semconv;

/// Who sends. OTEL_RESOURCE_ATTRIBUTES adds to it, OTEL_SERVICE_NAME replaces the name.
pub(crate) fn resource(dataplane: &str, instance: &str) -> Resource {
    let name = std::env::var("OTEL_SERVICE_NAME")
        .ok()
        .filter(|name| !name.is_empty());
    Resource::builder()
        .with_service_name(name.unwrap_or_else(|| "tidegate-dataplane".into()))
        .with_attributes([
            KeyValue::new(semconv::SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
            KeyValue::new(semconv::SERVICE_INSTANCE_ID, instance.to_owned()),
            KeyValue::new("tidegate.dataplane.id", dataplane.to_owned()),
        ])
        .build()
}

/// Sends metrics. Must be called on the runtime that is to carry them.
pub(crate) fn metric_exporter(endpoint: &str) -> anyhow::Result<MetricExporter> {
    Ok(MetricExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()?)
}

/// Sends spans. OTEL_TRACES_SAMPLER and the like are honoured.
pub(crate) struct Tracing(SdkTracerProvider);

impl Tracing {
    /// Must be called on the runtime that is to carry the spans.
    pub(crate) fn new(endpoint: &str, resource: Resource) -> anyhow::Result<Self> {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .build()?;
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_batch_exporter(exporter)
            .build();
        Ok(Self(provider))
    }

    pub(crate) fn tracer(&self) -> SdkTracer {
        self.0.tracer("tidegate.dataplane")
    }

    /// Sends the spans that wait. Blocks: not for the runtime's own thread.
    pub(crate) fn shutdown(&self) {
        if let Err(error) = self.0.shutdown() {
            tracing::debug!(%error, "spans were not flushed");
        }
    }
}
