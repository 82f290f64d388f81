//! Connections as text.

use serde::Serialize;
use tidegate_controlplane::api::types::{
    AuditStats, ClosedBy, Connection, HandshakeInfo, PathEvent, PathEventKind, SocketStats, TlsInfo,
};

use crate::{
    operate::table::{facts, or_dash, table, yes_no},
    units,
};

/// One line each.
#[must_use]
pub fn list(connections: &[Connection]) -> String {
    let headings = [
        "ID",
        "LISTENER",
        "PEER",
        "SERVER NAME",
        "ALPN",
        ">AGE",
        ">RTT",
        ">LOSS",
        ">CWND",
        ">REQUESTS",
        "STAGE",
    ];
    table(&headings, connections.iter().map(row))
}

fn row(connection: &Connection) -> Vec<String> {
    let tls = connection.tls.clone().unwrap_or_default();
    let (rtt, loss, cwnd) = match &connection.stats {
        Some(s) => (
            rtt(s.rtt_us),
            units::percent(s.packets_lost, s.packets_sent),
            or_none(s.cwnd),
        ),
        None => ("-".into(), "-".into(), "-".into()),
    };
    vec![
        connection.id.clone(),
        or_dash(&connection.listener_id),
        connection.peer_address.clone(),
        or_dash(&tls.server_name),
        or_dash(&tls.alpn),
        units::duration(connection.age_ms),
        rtt,
        loss,
        cwnd,
        requests(connection),
        stage(connection),
    ]
}

fn requests(connection: &Connection) -> String {
    match connection.requests_active {
        0 => connection.requests.to_string(),
        active => format!("{} ({active} open)", connection.requests),
    }
}

fn stage(connection: &Connection) -> String {
    if connection.draining && connection.stage == "running" {
        "draining".into()
    } else {
        or_dash(&connection.stage)
    }
}

fn rtt(us: i64) -> String {
    match u64::try_from(us) {
        Ok(us) if us > 0 => units::micros(us),
        _ => "-".into(),
    }
}

fn or_none(bytes: u64) -> String {
    if bytes == 0 {
        "-".into()
    } else {
        units::bytes(bytes)
    }
}

/// A line of the event stream.
#[must_use]
pub fn event(name: &str, connection: &Connection) -> String {
    let at = match name {
        "closed" => connection
            .started_at_ms
            .saturating_add_unsigned(connection.age_ms),
        _ => connection.started_at_ms,
    };
    let tls = connection.tls.clone().unwrap_or_default();
    let mut line = format!(
        "{}  {name:<11}  {}  {}  {}  {}",
        units::timestamp(at),
        connection.id,
        connection.peer_address,
        or_dash(&tls.server_name),
        or_dash(&tls.alpn),
    );
    if name == "closed" {
        line += &format!(
            "  after {}, {}",
            units::duration(connection.age_ms),
            units::count(connection.requests, "request")
        );
        if let Some(audit) = &connection.audit {
            line += &format!(", by {}{}", word(&audit.closed_by), why(audit));
        }
    } else if let Some(handshake) = &connection.handshake {
        line += &format!("  handshake {}", units::micros(handshake.elapsed_us));
    }
    line + "\n"
}

/// Codes and reason of the end.
#[must_use]
pub fn why(audit: &AuditStats) -> String {
    let codes = [
        (
            "sent application code",
            audit.sent_conn_close_application_error_code,
        ),
        (
            "sent transport code",
            audit.sent_conn_close_transport_error_code,
        ),
        (
            "received application code",
            audit.recvd_conn_close_application_error_code,
        ),
        (
            "received transport code",
            audit.recvd_conn_close_transport_error_code,
        ),
    ];
    let mut text = String::new();
    for (what, code) in codes {
        if let Some(code) = code {
            text += &format!(", {what} {code:#x}");
        }
    }
    if !audit.connection_close_reason.is_empty() {
        text += &format!(": {}", audit.connection_close_reason);
    }
    text
}

/// An enum as the word that the API uses for it.
#[must_use]
pub fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word.replace('_', " "),
        _ => "-".into(),
    }
}

/// Everything about one connection.
#[must_use]
pub fn whole(connection: &Connection) -> String {
    let mut text = format!("{}\n", connection.id);
    text += &facts(&[
        ("stage", stage(connection)),
        ("listener", connection.listener_id.clone()),
        ("transport", connection.transport.clone()),
        ("peer", connection.peer_address.clone()),
        ("local", connection.local_address.clone()),
        ("began", units::timestamp(connection.started_at_ms)),
        ("age", units::duration(connection.age_ms)),
        ("requests", requests(connection)),
    ]);
    let mut section = |title: &str, lines: Option<String>| {
        if let Some(lines) = lines.filter(|lines| !lines.is_empty()) {
            text += &format!("{title}\n{lines}");
        }
    };
    section("handshake", connection.handshake.as_ref().map(handshake));
    section("tls", connection.tls.as_ref().map(tls));
    section("path", connection.stats.as_ref().map(path));
    section("traffic", connection.stats.as_ref().map(traffic));
    section("address", connection.audit.as_ref().map(address));
    section("end", connection.audit.as_ref().and_then(end));
    text
}

fn handshake(info: &HandshakeInfo) -> String {
    let micros = |us: u64| {
        if us == 0 {
            String::new()
        } else {
            units::micros(us)
        }
    };
    facts(&[
        ("queued", micros(info.queued_us)),
        ("took", micros(info.elapsed_us)),
        ("may take", units::duration(info.timeout_ms)),
        ("retry", yes_no(info.retry)),
    ])
}

fn tls(info: &TlsInfo) -> String {
    facts(&[
        ("server name", info.server_name.clone()),
        ("alpn", info.alpn.clone()),
        ("version", info.version.clone()),
        ("cipher", info.cipher.clone()),
        ("key exchange", info.group.clone()),
        ("resumed", yes_no(info.resumed)),
        ("early data", yes_no(info.early_data)),
        ("encrypted hello", yes_no(info.ech_accepted)),
    ])
}

fn path(stats: &SocketStats) -> String {
    let some = |text: String| if text == "-" { String::new() } else { text };
    let startup = stats
        .startup_exit
        .as_ref()
        .map_or_else(String::new, |exit| {
            format!("{} at {}", word(&exit.reason), units::bytes(exit.cwnd))
        });
    let mtu = match stats.pmtu {
        0 => String::new(),
        bytes => format!("{bytes} B"),
    };
    facts(&[
        ("round trip", some(rtt(stats.rtt_us))),
        ("smallest", some(rtt(stats.min_rtt_us))),
        ("largest", some(rtt(stats.max_rtt_us))),
        ("variation", some(rtt(stats.rtt_var_us))),
        ("congestion control", stats.congestion_control.clone()),
        ("congestion window", some(or_none(stats.cwnd))),
        ("mtu", mtu),
        ("delivery rate", rate(stats.delivery_rate)),
        ("largest bandwidth", rate(stats.max_bandwidth.unwrap_or(0))),
        ("slow start ended by", startup),
    ])
}

/// Bytes per second, as links are measured.
fn rate(bytes_per_second: u64) -> String {
    match bytes_per_second {
        0 => String::new(),
        rate => units::bit_rate(rate.saturating_mul(8)),
    }
}

fn traffic(stats: &SocketStats) -> String {
    let line = |packets: u64, bytes: u64| match (packets, bytes) {
        (0, 0) => String::new(),
        (0, bytes) => units::bytes(bytes),
        (packets, bytes) => {
            format!(
                "{}, {}",
                units::count(packets, "packet"),
                units::bytes(bytes)
            )
        }
    };
    let mut lost = line(stats.packets_lost, stats.bytes_lost);
    if !lost.is_empty() {
        lost += &format!(
            ", {}",
            units::percent(stats.packets_lost, stats.packets_sent)
        );
    }
    let number = |n: u64| if n == 0 { String::new() } else { n.to_string() };
    facts(&[
        ("sent", line(stats.packets_sent, stats.bytes_sent)),
        ("received", line(stats.packets_recvd, stats.bytes_recvd)),
        ("lost", lost),
        ("lost wrongly", number(stats.packets_lost_spurious)),
        (
            "sent again",
            line(stats.packets_retrans, stats.bytes_retrans),
        ),
        ("waiting", line(0, stats.bytes_unsent)),
        ("probe time-outs", number(stats.total_pto_count)),
        ("key updates", number(stats.key_updates)),
    ])
}

/// Its wire name, the changes of the peer's address, and what happened to paths.
fn address(audit: &AuditStats) -> String {
    let changes: Vec<_> = audit
        .path_changes
        .iter()
        .map(|change| {
            let after = units::duration(change.at_ms);
            format!("after {after} from {} to {}", change.from, change.to)
        })
        .collect();
    let mut events: Vec<_> = audit.path_events.iter().map(path_event).collect();
    if audit.path_events_omitted > 0 {
        events.push(format!("and {} more", audit.path_events_omitted));
    }
    facts(&[
        ("first connection id", audit.quic_connection_id.clone()),
        ("changes", changes.join("\n")),
        ("paths", events.join("\n")),
    ])
}

fn path_event(event: &PathEvent) -> String {
    let mut text = format!(
        "after {} {} {}",
        units::duration(event.at_ms),
        event.peer,
        word(&event.kind)
    );
    match event.kind {
        PathEventKind::PeerMigrated | PathEventKind::ConnectionIdReused => {
            text += &format!(" from {}", event.before);
        }
        PathEventKind::PmtuUpdated => text += &format!(" to {} B", event.pmtu),
        _ => {}
    }
    text
}

/// Nothing while it lives.
fn end(audit: &AuditStats) -> Option<String> {
    if audit.closed_by == ClosedBy::Unspecified {
        return None;
    }
    let bandwidth = match audit.max_bandwidth_bps {
        0 => String::new(),
        bps => format!("{} with {}% lost", units::bit_rate(bps), audit.max_loss_pct),
    };
    let dropped = match audit.incoming_dropped {
        0 => String::new(),
        dropped => units::count(dropped, "packet"),
    };
    let relayed = match audit.relayed_datagrams {
        0 => String::new(),
        relayed => units::count(relayed, "packet"),
    };
    Some(facts(&[
        (
            "closed by",
            format!("{}{}", word(&audit.closed_by), why(audit)),
        ),
        ("largest bandwidth", bandwidth),
        ("dropped at the queue", dropped),
        ("through other data planes", relayed),
    ]))
}

#[cfg(test)]
mod tests;
