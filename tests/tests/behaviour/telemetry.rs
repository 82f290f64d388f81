//! Metrics, traces and trace context leave the gateway as they should.

use tidegate_tests::{Close, Gateway, OtlpSink, Tcp, Upstream, Wire, eventually};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_counter_is_on_the_dataplanes_page() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let id = gateway.admin().id_from(client.local_address()).await;
    let close = Close {
        send_application_close: true,
        error_code: 0x100,
        reason: "",
    };
    assert_eq!(gateway.admin().close(&id, close).await.0, 200);
    gateway.admin().audited(&id).await;
    Tcp::connect(&gateway.target(), Wire::H2)
        .await
        .get("/")
        .await;

    let samples = gateway.dataplane_metrics().await;
    let names = samples.names().join("\n");
    for name in [
        "tidegate_quic_datagrams_total",
        "tidegate_quic_io_bytes_total",
        "tidegate_quic_datagrams_dropped_total",
        "tidegate_quic_datagrams_kernel_dropped_total",
        "tidegate_quic_datagrams_handed_over_total",
        "tidegate_quic_replies_total",
        "tidegate_quic_gso_disabled_total",
        "tidegate_quic_write_errors_total",
        "tidegate_quic_write_blocked_duration_seconds_total",
        "tidegate_quic_initials_accepted_total",
        "tidegate_quic_connections",
        "tidegate_quic_connections_closed_total",
        "tidegate_quic_close_frames_total",
        "tidegate_quic_handshakes_total",
        "tidegate_quic_handshakes_failed_total",
        "tidegate_quic_handshake_duration_seconds_count",
        "tidegate_quic_admission_refused_total",
        "tidegate_quic_paths_changed_total",
        "tidegate_quic_commands_total",
        "tidegate_quic_requests_rejected_total",
        "tidegate_tcp_connections_accepted_total",
        "tidegate_tls_handshakes_failed_total",
        "tidegate_upstream_connects_total",
        "tidegate_upstream_reuses_total",
        "tidegate_upstream_errors_total",
        "tidegate_control_sessions",
        "tidegate_control_snapshots_total",
        "tidegate_control_commands_total",
        "tidegate_audit_spooled",
        "tidegate_audit_records_total",
        "tidegate_audit_acknowledged_total",
        "tidegate_audit_dropped_total",
        "http_server_request_duration_seconds_count",
        "http_server_active_requests",
    ] {
        assert!(
            names.lines().any(|have| have == name),
            "{name} is not among\n{names}"
        );
    }
    let count = |name: &str, labels: &[(&str, &str)]| samples.sum(name, labels).unwrap_or_default();
    assert_eq!(count("tidegate_quic_handshakes_total", &[]), 1.0);
    assert_eq!(
        count(
            "tidegate_quic_connections_closed_total",
            &[("tidegate_closed_by", "command")]
        ),
        1.0
    );
    assert_eq!(
        count(
            "http_server_request_duration_seconds_count",
            &[("network_protocol_version", "3")]
        ),
        1.0
    );
    assert_eq!(
        count(
            "http_server_request_duration_seconds_count",
            &[("network_protocol_version", "2")]
        ),
        1.0
    );
    assert!(count("tidegate_quic_io_bytes_total", &[]) > 2000.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_plane_has_a_page_too() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let samples = gateway.control_metrics().await;
    assert_eq!(
        samples.sum("tidegate_controlplane_sessions", &[]),
        Some(1.0),
        "{:?}",
        samples.names()
    );
    assert!(samples.sum("tidegate_controlplane_snapshots_published_total", &[]) >= Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace_context_is_passed_on_as_a_child() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let headers = [
        ("traceparent", PARENT),
        ("tracestate", "vendor=1"),
        ("baggage", "user=7"),
    ];
    for answer in [
        gateway.h3().await.get_with("/", &headers).await,
        gateway.h2().await.get_with("/", &headers).await,
        gateway.h1().await.get_with("/", &headers).await,
    ] {
        let passed = answer.upstream_header("traceparent");
        assert_eq!(passed.len(), 1, "{passed:?}");
        assert!(
            passed[0].starts_with(&format!("00-{TRACE}-")),
            "the trace goes on: {passed:?}"
        );
        assert_eq!(answer.upstream_header("tracestate"), ["vendor=1"]);
        assert_eq!(answer.upstream_header("baggage"), ["user=7"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_trace_context_fails_nothing() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    for broken in [
        "",
        "nonsense",
        "00-00000000000000000000000000000000-0000000000000000-00",
    ] {
        assert_eq!(
            client
                .get_with("/", &[("traceparent", broken)])
                .await
                .status,
            200,
            "{broken}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_receives_metrics_and_traces() {
    let upstream = Upstream::start().await;
    let sink = OtlpSink::start().await;
    let mut gateway = Gateway::builder().otlp(&sink).start(&upstream).await;
    let client = gateway.h3().await;
    client.get_with("/traced", &[("traceparent", PARENT)]).await;
    let span = eventually("the request's span arrives", || async {
        sink.spans().into_iter().find(|span| {
            span.attributes.iter().any(|attribute| {
                attribute.key == "url.path" && format!("{:?}", attribute.value).contains("/traced")
            })
        })
    })
    .await;
    let hex: String = span
        .trace_id
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, TRACE, "it belongs to the client's trace");
    // What the upstream was told is a span of the gateway's, in the same trace.
    let passed = upstream.seen_at("/traced").remove(0).headers["traceparent"]
        .to_str()
        .expect("ASCII")
        .to_owned();
    let parent = passed
        .split('-')
        .nth(2)
        .expect("it has four parts")
        .to_owned();
    eventually("the upstream's parent arrives", || async {
        sink.spans().into_iter().find(|span| {
            span.span_id
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
                == parent
        })
    })
    .await;
    // A data plane that stops in order sends what it has.
    gateway.stop_dataplane().await;
    eventually("metrics arrive", || async {
        let names = sink.metrics();
        names
            .iter()
            .any(|name| name == "http.server.request.duration")
            .then_some(())
    })
    .await;
}
