//! Every number of the data plane, by OpenTelemetry's instruments.
//!
//! Each shard adds to its own [`ShardMetrics`]: plain atomics that no other thread
//! writes. [`Metrics`] sums them over all shards when a collector or `/metrics` asks.
//! There are no OpenTelemetry globals, because two planes may share a process.

mod cell;
mod close_code;
mod control;
mod http;
mod instruments;
mod provider;
mod quic;

use std::sync::Arc;

use opentelemetry::metrics::{Meter, MeterProvider as _, NoopMeterProvider};

use self::quic::QuicMetrics;
pub use self::{
    cell::{Counter, Counters, Level},
    control::ControlMetrics,
    http::{HttpMetrics, RequestEnd},
    provider::Metrics,
};
use crate::tls::EchCounts;

/// What one shard counts. Implements the connection layer's
/// [`Metrics`](crate::quic::metrics::Metrics).
#[derive(Debug)]
pub struct ShardMetrics {
    /// Requests, upstreams and TCP connections.
    pub http: HttpMetrics,
    /// Encrypted ClientHellos, over TCP and QUIC.
    pub ech: Arc<EchCounts>,
    /// Handshakes, over TCP and QUIC, that wait until there is time for them.
    pub handshakes_waiting: Level,
    quic: QuicMetrics,
}

impl ShardMetrics {
    fn new(meter: &Meter) -> Self {
        Self {
            http: HttpMetrics::new(meter),
            ech: Arc::default(),
            handshakes_waiting: Level::default(),
            quic: QuicMetrics::new(meter),
        }
    }
}

/// Counts that nobody reads: for tests and tools.
impl Default for ShardMetrics {
    fn default() -> Self {
        Self::new(&NoopMeterProvider::new().meter(""))
    }
}

#[cfg(test)]
mod tests;
