//! The registry behind the instruments, and its two ways out: OTLP and Prometheus text.

use std::sync::Arc;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::{Resource, metrics::SdkMeterProvider};
use prometheus::{Registry, TextEncoder};

use super::{ControlMetrics, ShardMetrics, instruments};
use crate::audit::Ledger;

/// All numbers of one data plane. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    provider: SdkMeterProvider,
    registry: Registry,
    shards: Arc<[Arc<ShardMetrics>]>,
    control: Arc<ControlMetrics>,
}

impl Metrics {
    /// Makes the metrics of `shards` shards. `exporter` additionally pushes them to a
    /// collector every OTEL_METRIC_EXPORT_INTERVAL milliseconds (a minute by default).
    ///
    /// # Errors
    /// When the Prometheus registry refuses the exporter.
    pub fn new(
        shards: usize,
        resource: Resource,
        exporter: Option<MetricExporter>,
        ledger: &Arc<Ledger>,
    ) -> anyhow::Result<Self> {
        let registry = Registry::new();
        // The text is joined with the control plane's where both share a process: no
        // family may be in it twice, so it has neither target nor scope.
        let prometheus = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .scope_info_enabled(false)
            .build()?;
        let mut builder = SdkMeterProvider::builder()
            .with_resource(resource)
            .with_reader(prometheus);
        if let Some(exporter) = exporter {
            builder = builder.with_periodic_exporter(exporter);
        }
        let provider = builder.build();
        let meter = provider.meter("tidegate.dataplane");
        let shards: Arc<[_]> = (0..shards)
            .map(|_| Arc::new(ShardMetrics::new(&meter)))
            .collect();
        let control = Arc::new(ControlMetrics::default());
        instruments::register(&meter, &shards, &control, ledger);
        Ok(Self {
            provider,
            registry,
            shards,
            control,
        })
    }

    /// The counters of every shard, by its index.
    pub fn shards(&self) -> &[Arc<ShardMetrics>] {
        &self.shards
    }

    /// The counters of the control thread.
    pub fn control(&self) -> Arc<ControlMetrics> {
        self.control.clone()
    }

    /// Prometheus text exposition format, version 0.0.4.
    pub fn text(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "metrics cannot be written as text");
                String::new()
            })
    }

    /// Pushes what the collector has not seen yet. Blocks: not for a runtime's thread.
    pub fn shutdown(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::debug!(%error, "metrics were not flushed");
        }
    }
}
