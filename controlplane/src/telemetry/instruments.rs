//! Every instrument, by the name under which dashboards find it.

use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, UpDownCounter};

/// The control plane's instruments. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Instruments {
    /// Dataplanes that hold a session.
    pub(crate) sessions: UpDownCounter<i64>,
    /// Sessions that ended, by `reason`.
    pub(crate) sessions_ended: Counter<u64>,
    /// Configurations that differ from the one before.
    pub(crate) snapshots_published: Counter<u64>,
    /// Snapshots sent to dataplanes.
    pub(crate) snapshots_sent: Counter<u64>,
    /// Answers to snapshots, by `answer`: `ack`, `nack` or `none` in time.
    pub(crate) snapshot_answers: Counter<u64>,
    /// What sources refused, now.
    pub(crate) source_problems: Gauge<u64>,
    /// Objects that were read from the API server, by `kind`.
    pub(crate) source_objects: Gauge<u64>,
    /// Watches that failed and were begun again, by `kind` and `code`.
    pub(crate) watch_errors: Counter<u64>,
    /// Writes of statuses, by `kind` and `outcome`: `written`, `conflict`, `gone` or `failed`.
    pub(crate) status_writes: Counter<u64>,
    /// 1 on the replica that writes to the API server, 0 on the others.
    pub(crate) leader: Gauge<u64>,
    /// Seconds from command to reply, by `command` and `outcome`.
    pub(crate) command_duration: Histogram<f64>,
    /// Replies that nobody waited for any more.
    pub(crate) replies_unexpected: Counter<u64>,
    /// Records that dataplanes reported, by `kind`: `established`, `closed`, `duplicate`
    /// or `unknown`.
    pub(crate) records: Counter<u64>,
    /// Audit records that left the history to keep its bound.
    pub(crate) audit_expired: Counter<u64>,
    /// Seconds to store a report.
    pub(crate) audit_append_duration: Histogram<f64>,
    /// Reports that could not be stored; they come again.
    pub(crate) audit_append_failures: Counter<u64>,
    /// Events that a client was too slow for.
    pub(crate) events_lost: Counter<u64>,
    /// Changes asked of the Kubernetes API for data planes, by `action`, `kind` and
    /// `outcome`.
    pub(crate) provision_requests: Counter<u64>,
    /// Gateways that cannot be provisioned, now.
    pub(crate) provision_failing: Gauge<u64>,
    /// Key rotations.
    pub(crate) key_rotations: Counter<u64>,
    /// Seconds to answer a request of the admin API. Not `http.server.request.duration`,
    /// which in the metrics of one process is that of the traffic.
    pub(crate) request_duration: Histogram<f64>,
}

/// Bounds in seconds, as HTTP's semantic conventions give them.
const SECONDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

impl Instruments {
    pub(super) fn new(meter: &Meter) -> Self {
        let counter = |name: &'static str, what: &'static str| {
            meter.u64_counter(name).with_description(what).build()
        };
        let seconds = |name: &'static str, what: &'static str| {
            let histogram = meter
                .f64_histogram(name)
                .with_description(what)
                .with_unit("s");
            histogram.with_boundaries(SECONDS.to_vec()).build()
        };
        Self {
            sessions: meter
                .i64_up_down_counter("tidegate.controlplane.sessions")
                .with_description("Dataplanes that hold a session")
                .build(),
            sessions_ended: counter(
                "tidegate.controlplane.sessions.ended",
                "Sessions that ended, by reason",
            ),
            snapshots_published: counter(
                "tidegate.controlplane.snapshots.published",
                "Configurations that differ from the one before",
            ),
            snapshots_sent: counter(
                "tidegate.controlplane.snapshots.sent",
                "Snapshots sent to dataplanes",
            ),
            snapshot_answers: counter(
                "tidegate.controlplane.snapshots.answers",
                "Answers of dataplanes to snapshots",
            ),
            source_problems: meter
                .u64_gauge("tidegate.controlplane.source.problems")
                .with_description("Files, objects and fields that are refused now")
                .build(),
            source_objects: meter
                .u64_gauge("tidegate.controlplane.source.objects")
                .with_description("Objects that were read from the API server, by kind")
                .build(),
            watch_errors: counter(
                "tidegate.controlplane.source.watch.errors",
                "Watches of the API server that failed and were begun again",
            ),
            status_writes: counter(
                "tidegate.controlplane.status.writes",
                "Writes of statuses to the API server",
            ),
            leader: meter
                .u64_gauge("tidegate.controlplane.leader")
                .with_description("1 on the replica that writes to the API server")
                .build(),
            command_duration: seconds(
                "tidegate.controlplane.command.duration",
                "Time from a command to its reply",
            ),
            replies_unexpected: counter(
                "tidegate.controlplane.replies.unexpected",
                "Replies that nobody waited for any more",
            ),
            records: counter(
                "tidegate.controlplane.records",
                "Records of connections that dataplanes reported",
            ),
            audit_expired: counter(
                "tidegate.controlplane.audit.expired",
                "Audit records that left the history to keep its bound",
            ),
            audit_append_duration: seconds(
                "tidegate.controlplane.audit.append.duration",
                "Time to store a report",
            ),
            audit_append_failures: counter(
                "tidegate.controlplane.audit.append.failures",
                "Reports that could not be stored",
            ),
            events_lost: counter(
                "tidegate.controlplane.events.lost",
                "Events that a client was too slow for",
            ),
            provision_requests: counter(
                "tidegate.controlplane.provision.requests",
                "Changes asked of the Kubernetes API for data planes",
            ),
            provision_failing: meter
                .u64_gauge("tidegate.controlplane.provision.failing")
                .with_description("Gateways that cannot be provisioned now")
                .build(),
            key_rotations: counter("tidegate.controlplane.keys.rotations", "Key rotations"),
            request_duration: seconds(
                "tidegate.controlplane.request.duration",
                "Time to answer a request of the admin API",
            ),
        }
    }
}
