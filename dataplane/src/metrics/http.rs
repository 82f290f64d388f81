//! What one shard counts of requests, of their upstreams and of TCP connections.

mod series;

use std::time::Duration;

use http::{Method, StatusCode, Version};
use opentelemetry::metrics::Meter;
use tidegate_proto::v1::ClosedBy;

use self::series::Series;
use super::cell::{Counter, Counters};

/// Values of `network.protocol.version`.
pub(super) const VERSIONS: [&str; 4] = ["1.0", "1.1", "2", "3"];
/// Why a TCP connection was refused; see [`HttpMetrics::tcp_refused`].
pub(super) const REFUSALS: [&str; 4] = ["admission", "limit", "overload", "other"];
/// What went wrong with an upstream; see [`HttpMetrics::upstream_error`].
pub(super) const UPSTREAM_ERRORS: [&str; 9] = [
    "connect",
    "connect_timeout",
    "tls",
    "reset",
    "protocol",
    "timeout",
    "stale",
    "interim_overflow",
    "other",
];
/// Why a request was sent again; see [`HttpMetrics::upstream_retry`].
pub(super) const RETRIES: [&str; 4] = ["status", "connect", "timeout", "reset"];
/// What became of a copy; see [`HttpMetrics::mirrored`].
pub(super) const MIRRORS: [&str; 6] = [
    "answered", "lagged", "limit", "timeout", "connect", "failed",
];
/// Values of `tidegate.closed_by`, by the enumeration's numbers.
pub(super) const CLOSED_BY: [&str; 10] = [
    "unspecified",
    "peer",
    "local",
    "command",
    "drain",
    "idle_timeout",
    "handshake_timeout",
    "admission",
    "abort",
    "aead_limit",
];

/// Counts requests of every protocol, with OpenTelemetry's names.
#[derive(Debug)]
pub struct HttpMetrics {
    pub(super) started: Counters<4>,
    pub(super) finished: Counters<4>,
    series: Series,
    pub(super) connects: Counter,
    pub(super) connect_failures: Counter,
    pub(super) reuses: Counter,
    pub(super) upstream_errors: Counters<9>,
    pub(super) retries: Counters<4>,
    pub(super) mirrors: Counters<6>,
    pub(super) tcp_accepted: Counter,
    pub(super) tcp_closed: Counters<10>,
    pub(super) tcp_refused: Counters<4>,
    pub(super) tls_failures: Counter,
}

/// A request that is over, however it ended.
#[derive(Debug)]
pub struct RequestEnd<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The status that the client was sent, or would have been.
    pub status: StatusCode,
    /// The client's version of HTTP.
    pub version: Version,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Id of the route that served it.
    pub route: Option<&'a str>,
    /// From the first byte of the request to the last of the response.
    pub duration: Duration,
    /// Bytes of the body that the client sent.
    pub request_bytes: u64,
    /// Bytes of the body that the client was sent.
    pub response_bytes: u64,
    /// What went wrong, as a short word.
    pub error: Option<&'static str>,
}

impl HttpMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            started: Counters::default(),
            finished: Counters::default(),
            series: Series::new(meter),
            connects: Counter::default(),
            connect_failures: Counter::default(),
            reuses: Counter::default(),
            upstream_errors: Counters::default(),
            retries: Counters::default(),
            mirrors: Counters::default(),
            tcp_accepted: Counter::default(),
            tcp_closed: Counters::default(),
            tcp_refused: Counters::default(),
            tls_failures: Counter::default(),
        }
    }

    /// A request's head was read.
    pub fn request_started(&self, version: Version) {
        self.started.at(version_index(version)).one();
    }

    /// A request that [started](Self::request_started) is over: exactly once for each.
    pub fn request_finished(&self, end: &RequestEnd<'_>) {
        self.finished.at(version_index(end.version)).one();
        self.series.record(end, version_index(end.version));
    }

    /// A connection to an upstream was made, or failed.
    pub fn upstream_connect(&self, ok: bool) {
        if ok {
            self.connects.one()
        } else {
            self.connect_failures.one()
        }
    }

    /// A request took a pooled upstream connection.
    pub fn upstream_reuse(&self) {
        self.reuses.one();
    }

    /// An attempt at an upstream failed: `connect`, `connect_timeout`, `tls`, `reset`,
    /// `protocol`, `timeout`, `stale` or `interim_overflow` (a 1xx response that the client
    /// did not take in time); anything else counts as `other`.
    pub fn upstream_error(&self, kind: &'static str) {
        self.upstream_errors.named(&UPSTREAM_ERRORS, kind).one();
    }

    /// A request is sent once more because of a `status`, or because the attempt before
    /// ended in `connect`, `timeout` or `reset`.
    pub fn upstream_retry(&self, reason: &'static str) {
        self.retries.named(&RETRIES, reason).one();
    }

    /// What became of the copy of a request: it was `answered`, it `lagged` behind the
    /// request or was one too many (`limit`), it took too long (`timeout`), no connection
    /// came about (`connect`), or it `failed` otherwise.
    pub fn mirrored(&self, outcome: &'static str) {
        self.mirrors.named(&MIRRORS, outcome).one();
    }

    /// A TCP connection was accepted.
    pub fn tcp_accepted(&self) {
        self.tcp_accepted.one();
    }

    /// A TCP connection that was [accepted](Self::tcp_accepted) has ended: once for each.
    pub fn tcp_closed(&self, by: ClosedBy) {
        self.tcp_closed.at(by as usize).one();
    }

    /// A TCP connection was refused: `admission`, `limit`, or `overload` (there was no time
    /// for its handshake); anything else counts as `other`.
    pub fn tcp_refused(&self, reason: &'static str) {
        self.tcp_refused.named(&REFUSALS, reason).one();
    }

    /// A TLS handshake over TCP failed.
    pub fn tls_handshake_failed(&self) {
        self.tls_failures.one();
    }
}

fn version_index(version: Version) -> usize {
    match version {
        Version::HTTP_09 | Version::HTTP_10 => 0,
        Version::HTTP_2 => 2,
        Version::HTTP_3 => 3,
        _ => 1,
    }
}
