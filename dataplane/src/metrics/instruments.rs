//! The observable instruments: names, units, and where the numbers come from.

use std::sync::Arc;

use opentelemetry::{KeyValue, metrics::Meter};
use opentelemetry_semantic_conventions::attribute as semconv;

use super::{
    ControlMetrics, ShardMetrics,
    close_code::{self, CODES},
    control::{OUTCOMES, VERDICTS},
    http::{CLOSED_BY, MIRRORS, REFUSALS, RETRIES, UPSTREAM_ERRORS, VERSIONS},
    quic::{frame_index, unix_seconds},
};
use crate::{
    audit::Ledger,
    quic::metrics::{
        DatagramDrop, EarlyDataOutcome, HandshakeFailure, Layer, Relayed, Reply, RequestRejected,
        Side,
    },
};

/// Sums of all shards: one number for each set of attributes.
type Read = Box<dyn Fn(&dyn Fn(u64, &[KeyValue])) + Send + Sync>;

/// Registers everything that is read when somebody asks.
pub(super) fn register(
    meter: &Meter,
    shards: &Arc<[Arc<ShardMetrics>]>,
    control: &Arc<ControlMetrics>,
    ledger: &Arc<Ledger>,
) {
    let registrar = Registrar { meter, shards };
    registrar.quic();
    registrar.connections();
    registrar.upstreams();
    registrar.control(control);
    registrar.audit(ledger);
}

struct Registrar<'a> {
    meter: &'a Meter,
    shards: &'a Arc<[Arc<ShardMetrics>]>,
}

impl Registrar<'_> {
    fn counter(
        &self,
        name: &'static str,
        unit: &'static str,
        description: &'static str,
        read: Read,
    ) {
        self.meter
            .u64_observable_counter(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |observer| {
                read(&|value, attributes| observer.observe(value, attributes))
            })
            .build();
    }

    fn level(&self, name: &'static str, unit: &'static str, description: &'static str, read: Read) {
        self.meter
            .i64_observable_up_down_counter(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |observer| {
                read(&|value, attributes| observer.observe(value as i64, attributes));
            })
            .build();
    }

    /// A number without attributes, summed over the shards.
    fn sum(&self, value: impl Fn(&ShardMetrics) -> u64 + Send + Sync + 'static) -> Read {
        let shards = self.shards.clone();
        Box::new(move |observe| observe(shards.iter().map(|shard| value(shard)).sum(), &[]))
    }

    /// A number for each of `labels`, as values of `attribute`, summed over the shards.
    fn by(
        &self,
        attribute: &'static str,
        labels: &[&'static str],
        value: impl Fn(&ShardMetrics, usize) -> u64 + Send + Sync + 'static,
    ) -> Read {
        let shards = self.shards.clone();
        let labels: Vec<_> = labels
            .iter()
            .map(|label| [KeyValue::new(attribute, *label)])
            .collect();
        Box::new(move |observe| {
            for (index, attributes) in labels.iter().enumerate() {
                observe(
                    shards.iter().map(|shard| value(shard, index)).sum(),
                    attributes,
                );
            }
        })
    }

    fn quic(&self) {
        const DIRECTIONS: [&str; 2] = ["receive", "transmit"];
        self.counter(
            "tidegate.quic.datagrams",
            "{datagram}",
            "UDP datagrams received and sent.",
            self.by(
                semconv::NETWORK_IO_DIRECTION,
                &DIRECTIONS,
                |shard, index| {
                    [&shard.quic.datagrams_received, &shard.quic.datagrams_sent][index].value()
                },
            ),
        );
        self.counter(
            "tidegate.quic.io",
            "By",
            "Bytes of UDP payload received and sent.",
            self.by(
                semconv::NETWORK_IO_DIRECTION,
                &DIRECTIONS,
                |shard, index| [&shard.quic.bytes_received, &shard.quic.bytes_sent][index].value(),
            ),
        );
        let reasons: Vec<_> = DatagramDrop::ALL
            .iter()
            .map(|reason| reason.as_str())
            .collect();
        self.counter(
            "tidegate.quic.datagrams.dropped",
            "{datagram}",
            "Datagrams that nobody will see, by reason.",
            self.by("reason", &reasons, |shard, index| {
                shard.quic.dropped.at(index).value()
            }),
        );
        self.counter(
            "tidegate.quic.datagrams.kernel_dropped",
            "{datagram}",
            "Datagrams that the kernel dropped because the socket's buffer was full.",
            self.sum(|shard| shard.quic.kernel_dropped.value()),
        );
        self.counter(
            "tidegate.quic.datagrams.handed_over",
            "{datagram}",
            "Datagrams given to the shard that owns their connection.",
            self.sum(|shard| shard.quic.handed_over.value()),
        );
        let legs: Vec<_> = Relayed::ALL.iter().map(|leg| leg.as_str()).collect();
        self.counter(
            "tidegate.quic.datagrams.relayed",
            "{datagram}",
            "Datagrams that took a way through two dataplanes, by leg.",
            self.by("leg", &legs, |shard, index| {
                shard.quic.relayed.at(index).value()
            }),
        );
        let replies: Vec<_> = Reply::ALL.iter().map(|reply| reply.as_str()).collect();
        self.counter(
            "tidegate.quic.replies",
            "{datagram}",
            "Answers that need no connection.",
            self.by("type", &replies, |shard, index| {
                shard.quic.replies.at(index).value()
            }),
        );
        self.counter(
            "tidegate.quic.gso.disabled",
            "{socket}",
            "Sockets on which UDP segmentation offload failed.",
            self.sum(|shard| shard.quic.gso_disabled.value()),
        );
        self.counter(
            "tidegate.quic.write.errors",
            "{error}",
            "Sends that failed for another reason than a full buffer.",
            self.sum(|shard| shard.quic.write_errors.value()),
        );
        let shards = self.shards.clone();
        self.meter
            .f64_observable_counter("tidegate.quic.write.blocked.duration")
            .with_unit("s")
            .with_description("Time that sockets' send buffers were full.")
            .with_callback(move |observer| {
                let nanos: u64 = shards
                    .iter()
                    .map(|shard| shard.quic.write_blocked_nanos.value())
                    .sum();
                observer.observe(nanos as f64 / 1e9, &[]);
            })
            .build();
    }

    fn connections(&self) {
        self.counter(
            "tidegate.quic.initials.accepted",
            "{packet}",
            "Initial packets that began a connection.",
            self.sum(|shard| shard.quic.initials.value()),
        );
        self.level(
            "tidegate.quic.connections",
            "{connection}",
            "QUIC connections in memory.",
            self.sum(|shard| {
                let closed: u64 = (0..CLOSED_BY.len())
                    .map(|by| shard.quic.closed.at(by).value())
                    .sum();
                shard.quic.opened.value().saturating_sub(closed)
            }),
        );
        self.counter(
            "tidegate.quic.connections.closed",
            "{connection}",
            "QUIC connections that ended, by who ended them.",
            self.by("tidegate.closed_by", &CLOSED_BY, |shard, index| {
                shard.quic.closed.at(index).value()
            }),
        );
        self.close_frames();
        self.counter(
            "tidegate.quic.handshakes",
            "{handshake}",
            "Handshakes that were completed.",
            self.by("tidegate.resumed", &["false", "true"], |shard, index| {
                [&shard.quic.handshakes, &shard.quic.resumed][index].value()
            }),
        );
        self.level(
            "tidegate.quic.handshakes.half_open",
            "{handshake}",
            "Handshakes under way, by whether a Retry proved the client's address. A shard holds 2048; \
             from 256 on, of which unanswered Retries count too, it asks for Retry, down to 128.",
            self.by(
                "address",
                &["unvalidated", "validated"],
                |shard, index| {
                    let quic = &shard.quic;
                    [&quic.half_open_unvalidated, &quic.half_open_validated][index].value()
                },
            ),
        );
        self.level(
            "tidegate.handshakes.waiting",
            "{handshake}",
            "Handshakes, over TCP too, that wait because those before them have had half of their \
             shard's time.",
            self.sum(|shard| shard.handshakes_waiting.value()),
        );
        self.level(
            "tidegate.quic.retry.active",
            "{shard}",
            "Shards that ask every client for a Retry, unless a listener says otherwise.",
            self.sum(|shard| u64::from(shard.quic.retrying_until.value() > unix_seconds())),
        );
        let outcomes: Vec<_> = EarlyDataOutcome::ALL
            .iter()
            .map(|outcome| outcome.as_str())
            .collect();
        self.counter(
            "tidegate.quic.early_data",
            "{handshake}",
            "Handshakes with early data by what became of it.",
            self.by("outcome", &outcomes, |shard, index| {
                shard.quic.early_data.at(index).value()
            }),
        );
        let failures: Vec<_> = HandshakeFailure::ALL
            .iter()
            .map(|reason| reason.as_str())
            .collect();
        self.counter(
            "tidegate.quic.handshakes.failed",
            "{handshake}",
            "Handshakes that ended without a connection.",
            self.by(semconv::ERROR_TYPE, &failures, |shard, index| {
                shard.quic.handshakes_failed.at(index).value()
            }),
        );
        self.counter(
            "tidegate.quic.admission.refused",
            "{connection}",
            "Established connections that admission refused.",
            self.sum(|shard| shard.quic.admission_refused.value()),
        );
        self.counter(
            "tidegate.quic.paths.changed",
            "{path}",
            "Validated changes of a peer's address.",
            self.sum(|shard| shard.quic.paths_changed.value()),
        );
        self.counter(
            "tidegate.quic.paths.mtu_changed",
            "{path}",
            "Other sizes that discovery found for a path's datagrams.",
            self.sum(|shard| shard.quic.path_mtus_changed.value()),
        );
        self.counter(
            "tidegate.quic.unwanted_datagrams",
            "{datagram}",
            "DATAGRAM frames that no request wanted.",
            self.sum(|shard| shard.quic.unwanted_datagrams.value()),
        );
        self.counter(
            "tidegate.quic.commands",
            "{command}",
            "Commands to connections.",
            self.by("outcome", &["executed", "dropped"], |shard, index| {
                [&shard.quic.commands, &shard.quic.commands_dropped][index].value()
            }),
        );
        let rejections: Vec<_> = RequestRejected::ALL
            .iter()
            .map(|reason| reason.as_str())
            .collect();
        self.counter(
            "tidegate.quic.requests.rejected",
            "{request}",
            "HTTP/3 requests refused before they were served.",
            self.by("reason", &rejections, |shard, index| {
                shard.quic.requests_rejected.at(index).value()
            }),
        );
    }

    fn close_frames(&self) {
        let mut labels = Vec::new();
        for side in Side::ALL {
            for layer in Layer::ALL {
                for (code, name) in CODES.iter().enumerate() {
                    let attributes = [
                        KeyValue::new("side", side.as_str()),
                        KeyValue::new("layer", layer.as_str()),
                        KeyValue::new("code", *name),
                    ];
                    // A series for each code is too many to show those that never were.
                    let usual = code == close_code::usual(*layer);
                    labels.push((frame_index(*side, *layer), code, attributes, usual));
                }
            }
        }
        let shards = self.shards.clone();
        self.counter(
            "tidegate.quic.close_frames",
            "{frame}",
            "CONNECTION_CLOSE frames, by sender, layer and error code.",
            Box::new(move |observe| {
                for (frame, code, attributes, usual) in &labels {
                    let count: u64 = shards
                        .iter()
                        .map(|shard| shard.quic.close_frames[*frame].at(*code).value())
                        .sum();
                    if count > 0 || *usual {
                        observe(count, attributes);
                    }
                }
            }),
        );
    }

    fn upstreams(&self) {
        self.level(
            "http.server.active_requests",
            "{request}",
            "Requests under way.",
            self.by(
                semconv::NETWORK_PROTOCOL_VERSION,
                &VERSIONS,
                |shard, index| {
                    let finished = shard.http.finished.at(index).value();
                    shard
                        .http
                        .started
                        .at(index)
                        .value()
                        .saturating_sub(finished)
                },
            ),
        );
        self.counter(
            "tidegate.upstream.connects",
            "{connection}",
            "Connections to upstreams.",
            self.by("outcome", &["connected", "failed"], |shard, index| {
                [&shard.http.connects, &shard.http.connect_failures][index].value()
            }),
        );
        self.counter(
            "tidegate.upstream.reuses",
            "{request}",
            "Requests that took a pooled upstream connection.",
            self.sum(|shard| shard.http.reuses.value()),
        );
        self.counter(
            "tidegate.upstream.errors",
            "{error}",
            "Attempts at upstreams that failed.",
            self.by(semconv::ERROR_TYPE, &UPSTREAM_ERRORS, |shard, index| {
                shard.http.upstream_errors.at(index).value()
            }),
        );
        self.counter(
            "tidegate.upstream.retries",
            "{request}",
            "Further attempts at upstreams that a rule asked for.",
            self.by("reason", &RETRIES, |shard, index| {
                shard.http.retries.at(index).value()
            }),
        );
        self.counter(
            "tidegate.upstream.mirrors",
            "{request}",
            "Copies of requests by what became of them.",
            self.by("outcome", &MIRRORS, |shard, index| {
                shard.http.mirrors.at(index).value()
            }),
        );
        self.counter(
            "tidegate.tcp.connections.accepted",
            "{connection}",
            "TCP connections accepted.",
            self.sum(|shard| shard.http.tcp_accepted.value()),
        );
        self.counter(
            "tidegate.tcp.connections.closed",
            "{connection}",
            "TCP connections that ended, by who ended them.",
            self.by("tidegate.closed_by", &CLOSED_BY, |shard, index| {
                shard.http.tcp_closed.at(index).value()
            }),
        );
        self.counter(
            "tidegate.tcp.connections.refused",
            "{connection}",
            "TCP connections refused.",
            self.by("reason", &REFUSALS, |shard, index| {
                shard.http.tcp_refused.at(index).value()
            }),
        );
        self.counter(
            "tidegate.tls.handshakes.failed",
            "{handshake}",
            "TLS handshakes over TCP that failed.",
            self.sum(|shard| shard.http.tls_failures.value()),
        );
        self.counter(
            "tidegate.tls.ech",
            "{handshake}",
            "Handshakes with an encrypted ClientHello where there are keys; rejected ones are of an unknown key, \
             or encrypt nothing and look as if.",
            self.by("outcome", &["accepted", "rejected"], |shard, index| {
                [&shard.ech.accepted, &shard.ech.rejected][index].value()
            }),
        );
    }

    fn control(&self, control: &Arc<ControlMetrics>) {
        let level = control.clone();
        self.level(
            "tidegate.control.sessions",
            "{session}",
            "Sessions to control planes.",
            Box::new(move |observe| {
                observe(
                    level.opened.value().saturating_sub(level.ended.value()),
                    &[],
                );
            }),
        );
        let failed = control.clone();
        self.counter(
            "tidegate.control.connect.failures",
            "{attempt}",
            "Attempts to reach a control plane that failed.",
            Box::new(move |observe| observe(failed.failed.value(), &[])),
        );
        let snapshots = control.clone();
        self.counter(
            "tidegate.control.snapshots",
            "{snapshot}",
            "Snapshots by what became of them.",
            Box::new(move |observe| {
                for (index, verdict) in VERDICTS.iter().enumerate() {
                    observe(
                        snapshots.snapshots.at(index).value(),
                        &[KeyValue::new("verdict", *verdict)],
                    );
                }
            }),
        );
        let captures = control.clone();
        self.counter(
            "tidegate.captures",
            "{capture}",
            "Captures of connections that operators began.",
            Box::new(move |observe| observe(captures.captures.value(), &[])),
        );
        let captures = control.clone();
        self.counter(
            "tidegate.captures.lost",
            "{record}",
            "Records of captures that were left out.",
            Box::new(move |observe| {
                observe(
                    captures.captures_lost.value(),
                    &[KeyValue::new("reason", "slow_reader")],
                );
            }),
        );
        let endpoints = control.clone();
        self.counter(
            "tidegate.control.endpoints",
            "{update}",
            "Replacements of a backend's addresses.",
            Box::new(move |observe| observe(endpoints.endpoints.value(), &[])),
        );
        let commands = control.clone();
        self.counter(
            "tidegate.control.commands",
            "{command}",
            "Commands by their outcome.",
            Box::new(move |observe| {
                for (index, outcome) in OUTCOMES.iter().enumerate() {
                    observe(
                        commands.commands.at(index).value(),
                        &[KeyValue::new("outcome", *outcome)],
                    );
                }
            }),
        );
    }

    fn audit(&self, ledger: &Arc<Ledger>) {
        let (waiting, accepted) = (ledger.clone(), ledger.clone());
        let (dropped, acknowledged) = (ledger.clone(), ledger.clone());
        self.level(
            "tidegate.audit.spooled",
            "{record}",
            "Records that wait to be sent or acknowledged.",
            Box::new(move |observe| observe(waiting.waiting(), &[])),
        );
        self.counter(
            "tidegate.audit.records",
            "{record}",
            "Records of handshakes and closes.",
            Box::new(move |observe| observe(accepted.accepted(), &[])),
        );
        self.counter(
            "tidegate.audit.acknowledged",
            "{record}",
            "Records that the control plane has stored.",
            Box::new(move |observe| observe(acknowledged.acknowledged(), &[])),
        );
        self.counter(
            "tidegate.audit.dropped",
            "{record}",
            "Records lost because the spool was full.",
            Box::new(move |observe| {
                observe(dropped.dropped(), &[KeyValue::new("reason", "spool_full")]);
            }),
        );
    }
}
