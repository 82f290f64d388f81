use std::time::Duration;

use http::{Method, StatusCode, Version};
use opentelemetry_sdk::Resource;
use tidegate_proto::v1::ClosedBy;

use super::{ControlMetrics, Metrics, RequestEnd, ShardMetrics};
use crate::{
    audit,
    quic::metrics::{
        Counts, DatagramDrop, HandshakeFailure, Layer, Metrics as _, Reply, RequestRejected, Side,
    },
};

fn two_shards() -> (Metrics, audit::Sink, audit::Spool) {
    let (sink, spool) = audit::channel(1);
    let metrics = Metrics::new(2, Resource::builder_empty().build(), None, &sink.ledger());
    (metrics.unwrap(), sink, spool)
}

fn request<'a>(method: &'a Method, status: StatusCode, route: Option<&'a str>) -> RequestEnd<'a> {
    RequestEnd {
        method,
        status,
        version: Version::HTTP_3,
        scheme: "https",
        route,
        duration: Duration::from_millis(3),
        request_bytes: 10,
        response_bytes: 2000,
        error: None,
    }
}

/// The value of the only series whose line begins with `name` and has all `labels`.
#[track_caller]
fn value(text: &str, name: &str, labels: &[&str]) -> f64 {
    let matches = |line: &&str| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    };
    let found: Vec<_> = text.lines().filter(matches).collect();
    let [line] = found[..] else {
        panic!("{name} {labels:?}: {found:?}\n{text}")
    };
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn touch_everything(shard: &ShardMetrics, control: &ControlMetrics) {
    shard.datagrams_received(3, 3600);
    shard.datagrams_sent(2, 2400);
    shard.datagram_dropped(DatagramDrop::InvalidToken);
    shard.kernel_dropped(4);
    shard.datagram_handed_over();
    shard.reply_sent(Reply::Retry);
    shard.gso_disabled();
    shard.write_error();
    shard.write_blocked(Duration::from_millis(1500));
    shard.half_open(Counts {
        unvalidated: 5,
        validated: 3,
    });
    shard.retrying(true);
    shard.handshakes_waiting.set(4);
    shard.initial_accepted();
    shard.connection_opened();
    shard.connection_opened();
    shard.connection_closed(ClosedBy::Command, 1_000_000, 3);
    shard.close_frame(Side::Local, Layer::Application, 0x100);
    shard.handshake_completed(Duration::from_micros(90), Duration::from_millis(2), true);
    shard.handshake_failed(HandshakeFailure::Timeout);
    shard.admission_refused();
    shard.path_changed();
    shard.path_mtu_changed();
    shard.command_executed();
    shard.command_dropped();
    shard.unwanted_datagrams(1);
    shard.request_rejected(RequestRejected::GoingAway);
    shard.http.request_started(Version::HTTP_3);
    shard.http.request_started(Version::HTTP_3);
    shard.http.request_finished(&request(
        &Method::GET,
        StatusCode::OK,
        Some("HTTPRoute/a/b"),
    ));
    shard.http.upstream_connect(true);
    shard.http.upstream_connect(false);
    shard.http.upstream_reuse();
    shard.http.upstream_error("timeout");
    shard.http.tcp_accepted();
    shard.http.tcp_closed(ClosedBy::Peer);
    shard.http.tcp_refused("admission");
    shard.http.tls_handshake_failed();
    control.session_opened();
    control.session_failed();
    control.snapshot("acked");
    control.endpoints();
    control.command("not_found");
}

#[test]
fn the_text_has_every_instrument_and_sums_the_shards() {
    let (metrics, sink, _spool) = two_shards();
    for shard in metrics.shards() {
        touch_everything(shard, &metrics.control());
    }
    let kind = || tidegate_proto::v1::record::Kind::Closed(Default::default());
    sink.offer(kind());
    sink.offer(kind());
    let text = metrics.text();

    let expected: &[(&str, &[&str], f64)] = &[
        ("tidegate_quic_datagrams_total", &["receive"], 6.0),
        ("tidegate_quic_datagrams_total", &["transmit"], 4.0),
        ("tidegate_quic_io_bytes_total", &["receive"], 7200.0),
        (
            "tidegate_quic_datagrams_dropped_total",
            &["reason=\"invalid_token\""],
            2.0,
        ),
        (
            "tidegate_quic_datagrams_dropped_total",
            &["reason=\"malformed\""],
            0.0,
        ),
        ("tidegate_quic_datagrams_kernel_dropped_total", &[], 8.0),
        ("tidegate_quic_datagrams_handed_over_total", &[], 2.0),
        ("tidegate_quic_replies_total", &["type=\"retry\""], 2.0),
        ("tidegate_quic_gso_disabled_total", &[], 2.0),
        ("tidegate_quic_write_errors_total", &[], 2.0),
        (
            "tidegate_quic_write_blocked_duration_seconds_total",
            &[],
            3.0,
        ),
        (
            "tidegate_quic_handshakes_half_open",
            &["=\"unvalidated\""],
            10.0,
        ),
        (
            "tidegate_quic_handshakes_half_open",
            &["=\"validated\""],
            6.0,
        ),
        ("tidegate_quic_retry_active", &[], 2.0),
        ("tidegate_handshakes_waiting", &[], 8.0),
        ("tidegate_quic_initials_accepted_total", &[], 2.0),
        ("tidegate_quic_connections", &[], 2.0),
        (
            "tidegate_quic_connections_closed_total",
            &["=\"command\""],
            2.0,
        ),
        (
            "tidegate_quic_connection_max_bandwidth_bytes_per_second_sum",
            &[],
            250_000.0,
        ),
        ("tidegate_quic_connection_max_loss_percent_sum", &[], 6.0),
        (
            "tidegate_quic_close_frames_total",
            &["code=\"h3_no_error\"", "side=\"local\""],
            2.0,
        ),
        ("tidegate_quic_handshakes_total", &["resumed=\"true\""], 2.0),
        (
            "tidegate_quic_handshakes_failed_total",
            &["=\"timeout\""],
            2.0,
        ),
        ("tidegate_quic_handshake_duration_seconds_count", &[], 2.0),
        (
            "tidegate_quic_handshake_queue_duration_seconds_count",
            &[],
            2.0,
        ),
        ("tidegate_quic_admission_refused_total", &[], 2.0),
        ("tidegate_quic_paths_changed_total", &[], 2.0),
        ("tidegate_quic_paths_mtu_changed_total", &[], 2.0),
        ("tidegate_quic_commands_total", &["executed"], 2.0),
        ("tidegate_quic_commands_total", &["dropped"], 2.0),
        ("tidegate_quic_unwanted_datagrams_total", &[], 2.0),
        (
            "tidegate_quic_requests_rejected_total",
            &["going_away"],
            2.0,
        ),
        (
            "http_server_active_requests",
            &["network_protocol_version=\"3\""],
            2.0,
        ),
        (
            "http_server_request_duration_seconds_count",
            &["tidegate_route=\"HTTPRoute/a/b\""],
            2.0,
        ),
        (
            "http_server_request_body_size_bytes_sum",
            &["http_request_method=\"GET\""],
            20.0,
        ),
        (
            "http_server_response_body_size_bytes_sum",
            &["url_scheme=\"https\""],
            4000.0,
        ),
        ("tidegate_upstream_connects_total", &["connected"], 2.0),
        ("tidegate_upstream_connects_total", &["failed"], 2.0),
        ("tidegate_upstream_reuses_total", &[], 2.0),
        ("tidegate_upstream_errors_total", &["=\"timeout\""], 2.0),
        ("tidegate_tcp_connections_accepted_total", &[], 2.0),
        ("tidegate_tcp_connections_closed_total", &["=\"peer\""], 2.0),
        (
            "tidegate_tcp_connections_refused_total",
            &["admission"],
            2.0,
        ),
        ("tidegate_tls_handshakes_failed_total", &[], 2.0),
        ("tidegate_control_sessions", &[], 2.0),
        ("tidegate_control_connect_failures_total", &[], 2.0),
        ("tidegate_control_snapshots_total", &["=\"acked\""], 2.0),
        ("tidegate_control_endpoints_total", &[], 2.0),
        ("tidegate_control_commands_total", &["not_found"], 2.0),
        ("tidegate_audit_records_total", &[], 1.0),
        ("tidegate_audit_spooled", &[], 1.0),
        ("tidegate_audit_acknowledged_total", &[], 0.0),
        (
            "tidegate_audit_dropped_total",
            &["reason=\"spool_full\""],
            1.0,
        ),
    ];
    for (name, labels, expected) in expected {
        assert_eq!(value(&text, name, labels), *expected, "{name} {labels:?}");
    }
}

#[test]
fn a_family_is_in_the_text_once_and_nothing_says_whose_process_it_is() {
    let (metrics, _sink, _spool) = two_shards();
    let text = metrics.text();
    let mut families: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("# TYPE "))
        .collect();
    let all = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), all);
    assert!(
        !text.contains("target_info") && !text.contains("otel_scope"),
        "{text}"
    );
}

#[test]
fn requests_are_told_apart_by_what_they_are_but_not_by_what_a_client_invents() {
    let (metrics, ..) = two_shards();
    let http = &metrics.shards()[0].http;
    http.request_finished(&request(&Method::GET, StatusCode::OK, None));
    http.request_finished(&request(&Method::GET, StatusCode::OK, None));
    http.request_finished(&request(&Method::GET, StatusCode::BAD_GATEWAY, None));
    let failed = RequestEnd {
        error: Some("connect"),
        ..request(&Method::GET, StatusCode::SERVICE_UNAVAILABLE, None)
    };
    http.request_finished(&failed);
    for name in ["BREW", "WHEN", "PROPFIND"] {
        let invented = Method::from_bytes(name.as_bytes()).unwrap();
        http.request_finished(&request(&invented, StatusCode::OK, None));
    }
    let text = metrics.text();
    let count =
        |labels: &[&str]| value(&text, "http_server_request_duration_seconds_count", labels);
    assert_eq!(count(&["=\"GET\"", "status_code=\"200\""]), 2.0);
    assert_eq!(count(&["status_code=\"502\"", "error_type=\"502\""]), 1.0);
    assert_eq!(
        count(&["status_code=\"503\"", "error_type=\"connect\""]),
        1.0
    );
    assert_eq!(count(&["=\"_OTHER\""]), 3.0);
}

#[test]
fn a_reason_without_a_name_is_still_counted() {
    let (metrics, ..) = two_shards();
    metrics.shards()[0].http.upstream_error("never heard of");
    metrics.shards()[1].http.tcp_refused("never heard of");
    let text = metrics.text();
    assert_eq!(
        value(&text, "tidegate_upstream_errors_total", &["=\"other\""]),
        1.0
    );
    assert_eq!(
        value(
            &text,
            "tidegate_tcp_connections_refused_total",
            &["=\"other\""]
        ),
        1.0
    );
}

#[test]
fn counters_that_nobody_reads_can_be_used() {
    touch_everything(&ShardMetrics::default(), &ControlMetrics::default());
}
