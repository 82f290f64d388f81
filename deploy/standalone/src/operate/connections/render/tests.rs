use tidegate_controlplane::api::types::{PathChange, StartupExit, StartupExitReason};

use super::*;

fn quic() -> Connection {
    Connection {
        id: "local.0.3.1".into(),
        listener_id: "default/demo/https".into(),
        transport: "quic".into(),
        peer_address: "127.0.0.1:52011".into(),
        local_address: "127.0.0.1:8443".into(),
        started_at_ms: 1_769_903_998_000,
        age_ms: 252_000,
        handshake: Some(HandshakeInfo {
            queued_us: 40,
            elapsed_us: 3_100,
            timeout_ms: 10_000,
            retry: false,
        }),
        tls: Some(TlsInfo {
            server_name: "localhost".into(),
            alpn: "h3".into(),
            group: "X25519MLKEM768".into(),
            ..Default::default()
        }),
        stats: Some(SocketStats {
            rtt_us: 312,
            cwnd: 13_500,
            packets_sent: 1_000,
            packets_lost: 5,
            bytes_lost: 6_750,
            bytes_sent: 1_048_576,
            delivery_rate: 12_500_000,
            startup_exit: Some(StartupExit {
                reason: StartupExitReason::BandwidthPlateau,
                cwnd: 40_960,
                bandwidth: None,
            }),
            ..Default::default()
        }),
        requests: 12,
        requests_active: 2,
        stage: "running".into(),
        ..Default::default()
    }
}

fn ended() -> Connection {
    Connection {
        stage: "closed".into(),
        requests_active: 0,
        audit: Some(AuditStats {
            closed_by: ClosedBy::Command,
            sent_conn_close_application_error_code: Some(256),
            connection_close_reason: "maintenance".into(),
            path_changes: vec![PathChange {
                at_ms: 1_500,
                from: "127.0.0.1:1".into(),
                to: "127.0.0.1:2".into(),
            }],
            path_events: vec![
                PathEvent {
                    at_ms: 1_400,
                    kind: PathEventKind::ValidationFailed,
                    peer: "192.0.2.66:6".into(),
                    ..Default::default()
                },
                PathEvent {
                    at_ms: 1_500,
                    kind: PathEventKind::PeerMigrated,
                    peer: "127.0.0.1:2".into(),
                    before: "127.0.0.1:1".into(),
                    ..Default::default()
                },
            ],
            path_events_omitted: 3,
            ..Default::default()
        }),
        ..quic()
    }
}

#[test]
fn a_list_has_a_line_for_each_connection_with_human_units() {
    let cleartext = Connection {
        id: "local.1.0.9".into(),
        peer_address: "[::1]:9".into(),
        age_ms: 80,
        draining: true,
        stage: "running".into(),
        ..Default::default()
    };
    let text = list(&[quic(), cleartext]);
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(lines.len(), 3, "{text}");
    let expected = [
        "local.0.3.1",
        "default/demo/https",
        "127.0.0.1:52011",
        "localhost",
        "h3",
        "4m12s",
        "0.31ms",
        "0.50%",
        "13.2",
        "KiB",
        "12",
        "(2",
        "open)",
        "running",
    ];
    assert_eq!(lines[1], expected);
    let expected = [
        "local.1.0.9",
        "-",
        "[::1]:9",
        "-",
        "-",
        "80ms",
        "-",
        "-",
        "-",
        "0",
        "draining",
    ];
    assert_eq!(lines[2], expected);
}

#[test]
fn an_empty_list_still_names_its_columns() {
    assert!(list(&[]).starts_with("ID"));
}

#[test]
fn a_connection_is_shown_whole_without_what_is_not_known() {
    let text = whole(&quic());
    for part in [
        "0.31ms",
        "X25519MLKEM768",
        "100.0 Mbit/s",
        "bandwidth plateau at 40.0 KiB",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(text.contains("5 packets, 6.6 KiB, 0.50%"), "{text}");
    for absent in ["end\n", "closed by", "probe time-outs", "waiting"] {
        assert!(!text.contains(absent), "{absent} in\n{text}");
    }
}

#[test]
fn an_ended_connection_says_who_closed_it_and_why() {
    let text = whole(&ended());
    assert!(
        text.contains("command, sent application code 0x100: maintenance"),
        "{text}"
    );
    assert!(
        text.contains("after 1.5s from 127.0.0.1:1 to 127.0.0.1:2"),
        "{text}"
    );
}

#[test]
fn what_happened_to_paths_is_told_in_order() {
    let text = whole(&ended());
    for part in [
        "after 1.4s 192.0.2.66:6 validation failed",
        "after 1.5s 127.0.0.1:2 peer migrated from 127.0.0.1:1",
        "and 3 more",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn events_are_one_line_each() {
    let text = event("established", &quic());
    assert!(
        text.contains("2026-01-31 23:59:58Z  established  local.0.3.1"),
        "{text}"
    );
    assert!(text.ends_with("handshake 3.10ms\n"), "{text}");
    let text = event("closed", &ended());
    assert!(text.contains("2026-02-01 00:04:10Z  closed "), "{text}");
    let end = "after 4m12s, 12 requests, by command, sent application code 0x100: maintenance\n";
    assert!(text.ends_with(end), "{text}");
}
