//! What one shard counts of its QUIC connections: the numbers behind the connection
//! layer's [`Metrics`] trait.

use std::time::{Duration, SystemTime};

use opentelemetry::metrics::{BoundHistogram, Meter};
use tidegate_proto::v1::ClosedBy;

use super::{
    ShardMetrics,
    cell::{Counter, Counters, Level},
    close_code::{self, CODES},
};
use crate::quic::{
    metrics::{
        Counts, DatagramDrop, EarlyDataOutcome, HandshakeFailure, Layer, Metrics, Relayed, Reply,
        RequestRejected, Side,
    },
    token::RETRY_LIFETIME,
};

/// Seconds: handshakes take a round trip and some cryptography.
const HANDSHAKE_BOUNDARIES: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
/// Bytes per second, from 10 kB/s to 1 GB/s.
const BANDWIDTH_BOUNDARIES: [f64; 9] = [1e4, 1e5, 5e5, 1e6, 5e6, 1e7, 5e7, 1e8, 1e9];
/// Percent.
const LOSS_BOUNDARIES: [f64; 9] = [0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0];

/// The counters and histograms of QUIC.
#[derive(Debug)]
pub(super) struct QuicMetrics {
    pub(super) datagrams_received: Counter,
    pub(super) bytes_received: Counter,
    pub(super) datagrams_sent: Counter,
    pub(super) bytes_sent: Counter,
    pub(super) dropped: Counters<{ DatagramDrop::ALL.len() }>,
    pub(super) kernel_dropped: Counter,
    pub(super) handed_over: Counter,
    pub(super) relayed: Counters<{ Relayed::ALL.len() }>,
    pub(super) replies: Counters<{ Reply::ALL.len() }>,
    pub(super) gso_disabled: Counter,
    pub(super) write_errors: Counter,
    pub(super) write_blocked_nanos: Counter,
    pub(super) half_open_unvalidated: Level,
    pub(super) half_open_validated: Level,
    /// In seconds since the epoch, until when Retry is on if nothing happens; 0: it is off.
    pub(super) retrying_until: Level,
    pub(super) initials: Counter,
    pub(super) opened: Counter,
    pub(super) closed: Counters<10>,
    /// Local transport, local application, peer transport, peer application.
    pub(super) close_frames: [Counters<{ CODES.len() }>; 4],
    pub(super) handshakes: Counter,
    pub(super) resumed: Counter,
    pub(super) early_data: Counters<{ EarlyDataOutcome::ALL.len() }>,
    pub(super) handshakes_failed: Counters<{ HandshakeFailure::ALL.len() }>,
    pub(super) admission_refused: Counter,
    pub(super) paths_changed: Counter,
    pub(super) path_mtus_changed: Counter,
    pub(super) commands: Counter,
    pub(super) commands_dropped: Counter,
    pub(super) unwanted_datagrams: Counter,
    pub(super) requests_rejected: Counters<{ RequestRejected::ALL.len() }>,
    handshake_queued: BoundHistogram<f64>,
    handshake_elapsed: BoundHistogram<f64>,
    bandwidth: BoundHistogram<u64>,
    loss: BoundHistogram<u64>,
}

impl QuicMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let seconds = |name, description| {
            meter
                .f64_histogram(name)
                .with_description(description)
                .with_unit("s")
                .with_boundaries(HANDSHAKE_BOUNDARIES.to_vec())
                .build()
                .bind(&[])
        };
        Self {
            datagrams_received: Counter::default(),
            bytes_received: Counter::default(),
            datagrams_sent: Counter::default(),
            bytes_sent: Counter::default(),
            dropped: Counters::default(),
            kernel_dropped: Counter::default(),
            handed_over: Counter::default(),
            relayed: Counters::default(),
            replies: Counters::default(),
            gso_disabled: Counter::default(),
            write_errors: Counter::default(),
            write_blocked_nanos: Counter::default(),
            half_open_unvalidated: Level::default(),
            half_open_validated: Level::default(),
            retrying_until: Level::default(),
            initials: Counter::default(),
            opened: Counter::default(),
            closed: Counters::default(),
            close_frames: Default::default(),
            handshakes: Counter::default(),
            resumed: Counter::default(),
            early_data: Counters::default(),
            handshakes_failed: Counters::default(),
            admission_refused: Counter::default(),
            paths_changed: Counter::default(),
            path_mtus_changed: Counter::default(),
            commands: Counter::default(),
            commands_dropped: Counter::default(),
            unwanted_datagrams: Counter::default(),
            requests_rejected: Counters::default(),
            handshake_queued: seconds(
                "tidegate.quic.handshake.queue.duration",
                "Time that the first packet of a connection waited before it was processed.",
            ),
            handshake_elapsed: seconds(
                "tidegate.quic.handshake.duration",
                "Time from a connection's creation until its handshake was completed.",
            ),
            bandwidth: meter
                .u64_histogram("tidegate.quic.connection.max_bandwidth")
                .with_description("Largest bandwidth that an ended connection had.")
                .with_unit("By/s")
                .with_boundaries(BANDWIDTH_BOUNDARIES.to_vec())
                .build()
                .bind(&[]),
            loss: meter
                .u64_histogram("tidegate.quic.connection.max_loss")
                .with_description("Largest packet loss that an ended connection had.")
                .with_unit("%")
                .with_boundaries(LOSS_BOUNDARIES.to_vec())
                .build()
                .bind(&[]),
        }
    }
}

impl Metrics for ShardMetrics {
    fn datagrams_received(&self, count: u64, bytes: u64) {
        self.quic.datagrams_received.add(count);
        self.quic.bytes_received.add(bytes);
    }

    fn datagrams_sent(&self, count: u64, bytes: u64) {
        self.quic.datagrams_sent.add(count);
        self.quic.bytes_sent.add(bytes);
    }

    fn datagram_dropped(&self, reason: DatagramDrop) {
        self.quic.dropped.at(reason as usize).one();
    }

    fn kernel_dropped(&self, count: u64) {
        self.quic.kernel_dropped.add(count);
    }

    fn datagram_handed_over(&self) {
        self.quic.handed_over.one();
    }

    fn datagram_relayed(&self, leg: Relayed) {
        self.quic.relayed.at(leg as usize).one();
    }

    fn reply_sent(&self, reply: Reply) {
        self.quic.replies.at(reply as usize).one();
    }

    fn gso_disabled(&self) {
        self.quic.gso_disabled.one();
    }

    fn write_error(&self) {
        self.quic.write_errors.one();
    }

    fn write_blocked(&self, duration: Duration) {
        self.quic
            .write_blocked_nanos
            .add(duration.as_nanos() as u64);
    }

    fn half_open(&self, counts: Counts) {
        self.quic
            .half_open_unvalidated
            .set(counts.unvalidated as u64);
        self.quic.half_open_validated.set(counts.validated as u64);
    }

    fn retrying(&self, on: bool) {
        // What keeps it on is forgotten by then, if nothing comes to say so again.
        let until = on.then(|| unix_seconds() + RETRY_LIFETIME.as_secs() + 1);
        self.quic.retrying_until.set(until.unwrap_or(0));
    }

    fn initial_accepted(&self) {
        self.quic.initials.one();
    }

    fn connection_opened(&self) {
        self.quic.opened.one();
    }

    fn connection_closed(&self, by: ClosedBy, bandwidth: u64, loss_pct: u32) {
        self.quic.closed.at(by as usize).one();
        self.quic.bandwidth.record(bandwidth / 8);
        self.quic.loss.record(u64::from(loss_pct));
    }

    fn close_frame(&self, side: Side, layer: Layer, code: u64) {
        self.quic.close_frames[frame_index(side, layer)]
            .at(close_code::index(layer, code))
            .one();
    }

    fn handshake_completed(&self, queued: Duration, elapsed: Duration, resumed: bool) {
        if resumed {
            self.quic.resumed.one()
        } else {
            self.quic.handshakes.one()
        }
        self.quic.handshake_queued.record(queued.as_secs_f64());
        self.quic.handshake_elapsed.record(elapsed.as_secs_f64());
    }

    fn early_data(&self, outcome: EarlyDataOutcome) {
        self.quic.early_data.at(outcome as usize).one();
    }

    fn handshake_failed(&self, reason: HandshakeFailure) {
        self.quic.handshakes_failed.at(reason as usize).one();
    }

    fn admission_refused(&self) {
        self.quic.admission_refused.one();
    }

    fn path_changed(&self) {
        self.quic.paths_changed.one();
    }

    fn path_mtu_changed(&self) {
        self.quic.path_mtus_changed.one();
    }

    fn command_executed(&self) {
        self.quic.commands.one();
    }

    fn command_dropped(&self) {
        self.quic.commands_dropped.one();
    }

    fn unwanted_datagrams(&self, count: u64) {
        self.quic.unwanted_datagrams.add(count);
    }

    fn request_rejected(&self, reason: RequestRejected) {
        self.quic.requests_rejected.at(reason as usize).one();
    }
}

/// The time of levels that end by themselves.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Place in [`QuicMetrics::close_frames`].
pub(super) fn frame_index(side: Side, layer: Layer) -> usize {
    side as usize * 2 + layer as usize
}
