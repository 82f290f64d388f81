//! Whether each connection has its record, and each record its connection.
//!
//! One kind of connection leaves none by design: one whose first packets could not be read, so
//! that anybody may have sent them (`Core::unread`). The dataplane counts those that came to
//! nothing as datagrams that are `undecryptable`, one for each connection, and those that waited
//! too long to be looked at as handshakes that failed by `overload`.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::Value;
use tidegate_tests::{Gateway, Samples, eventually_within};

use crate::diary::{Diary, Visit};

/// Every time-out of a connection is over by then.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(250);
/// Between a client's clock before its handshake and the dataplane's at the first packet.
const APART: Duration = Duration::from_secs(30);

/// The history, and what the dataplane counted.
pub(crate) struct Records {
    connections: Vec<Value>,
    counted: Samples,
}

/// Waits until all connections have ended and their records have arrived.
pub(crate) async fn collect(gateway: &Gateway) -> Records {
    let ended = || async {
        let counted = gateway.dataplane_metrics().await;
        let over = sum(&counted, "tidegate_quic_connections") == 0
            && tcp_accepted(&counted) == sum(&counted, "tidegate_tcp_connections_closed_total")
            && sum(&counted, "tidegate_audit_spooled") == 0;
        over.then_some(counted)
    };
    let counted = eventually_within(PATIENCE, PAUSE, "every connection ends", ended).await;
    let records = gateway.admin().audit("").await;
    let connections = records
        .into_iter()
        .map(|mut record| record["connection"].take());
    Records {
        connections: connections.collect(),
        counted,
    }
}

impl Records {
    /// Records that are missing, doubled or wrong.
    pub(crate) fn problems(&self, diary: &Diary) -> Vec<String> {
        let mut problems = self.unequal();
        let ids: HashSet<&str> = (self.connections.iter())
            .filter_map(|connection| connection["id"].as_str())
            .collect();
        if ids.len() != self.connections.len() {
            let (ids, records) = (ids.len(), self.connections.len());
            problems.push(format!("{records} records of {ids} connections"));
        }
        problems.extend(self.unmatched(diary.visits()));
        problems
    }

    /// Habits of honest clients that nobody had, or of which the dataplane saw nothing.
    pub(crate) fn unseen(&self, diary: &Diary) -> Vec<String> {
        let counted = &self.counted;
        let moved = sum(counted, "tidegate_quic_paths_changed_total");
        let labels = [("tidegate_resumed", "true")];
        let resumed = labelled(counted, "tidegate_quic_handshakes_total", &labels);
        // Few enough go in a download that a short soak may have none.
        let vanished = diary.habit("vanished") + diary.habit("vanished in a download");
        let seen = [
            ("moved", moved),
            ("resumed a session", resumed),
            ("vanished", vanished),
        ];
        let unseen = seen.iter().filter(|(_, times)| *times == 0);
        unseen
            .map(|(what, _)| format!("no client {what}"))
            .collect()
    }

    /// Where the dataplane counted another number than there are records.
    fn unequal(&self) -> Vec<String> {
        let counted = &self.counted;
        let begun = sum(counted, "tidegate_quic_initials_accepted_total");
        let labels = [("reason", "undecryptable")];
        let unread = labelled(counted, "tidegate_quic_datagrams_dropped_total", &labels);
        let labels = [("error_type", "overload")];
        let overload = labelled(counted, "tidegate_quic_handshakes_failed_total", &labels);
        let quic = self.count("quic");
        let mut problems = Vec::new();
        if quic + unread > begun || quic + unread + overload < begun {
            problems.push(format!(
                "{begun} QUIC connections: {quic} records, {unread} never read, {overload} overload"
            ));
        }
        let (begun, tcp) = (tcp_accepted(counted), self.count("tcp"));
        if begun != tcp {
            problems.push(format!("{begun} TCP connections: {tcp} records"));
        }
        let offered = sum(counted, "tidegate_audit_records_total");
        let stored = sum(counted, "tidegate_audit_acknowledged_total");
        let dropped = sum(counted, "tidegate_audit_dropped_total");
        if offered != stored || dropped != 0 {
            problems.push(format!(
                "{offered} records: {stored} stored, {dropped} dropped"
            ));
        }
        problems
    }

    /// Honest connections and the records of their network, address by address and, where a
    /// port was used again, in the order of time.
    fn unmatched(&self, visits: Vec<Visit>) -> Vec<String> {
        type Key = (String, SocketAddr);
        let mut places: BTreeMap<Key, (Vec<Visit>, Vec<&Value>)> = BTreeMap::new();
        for visit in visits {
            let key = (visit.transport.to_owned(), visit.from);
            places.entry(key).or_default().0.push(visit);
        }
        for record in &self.connections {
            let from = first_address(record);
            if from.ip().is_loopback() && from.ip().to_string().starts_with("127.0.0.") {
                let transport = record["transport"].as_str().unwrap_or_default();
                places
                    .entry((transport.to_owned(), from))
                    .or_default()
                    .1
                    .push(record);
            }
        }
        let mut problems = Vec::new();
        for ((transport, from), (mut visits, mut records)) in places {
            visits.sort_by_key(|visit| visit.begun);
            records.sort_by_key(|record| record["started_at_ms"].as_i64());
            if visits.len() != records.len() {
                problems.push(format!(
                    "{} connections over {transport} from {from}: {} records: {visits:?} {records:?}",
                    visits.len(),
                    records.len()
                ));
                continue;
            }
            let pairs = visits.iter().zip(&records);
            problems.extend(pairs.filter_map(|(visit, record)| difference(visit, record)));
        }
        problems
    }

    fn count(&self, transport: &str) -> u64 {
        let of = |connection: &&Value| connection["transport"] == transport;
        self.connections.iter().filter(of).count() as u64
    }

    pub(crate) fn tell(&self) {
        let counted = &self.counted;
        println!(
            "records: {} of QUIC, {} of TCP; connections begun: {} and {}; {} never read; {} dropped",
            self.count("quic"),
            self.count("tcp"),
            sum(counted, "tidegate_quic_initials_accepted_total"),
            tcp_accepted(counted),
            labelled(
                counted,
                "tidegate_quic_datagrams_dropped_total",
                &[("reason", "undecryptable")]
            ),
            sum(counted, "tidegate_audit_dropped_total"),
        );
        let by = |name, label| counted.by(name, label);
        for (name, label) in [
            (
                "tidegate_quic_connections_closed_total",
                "tidegate_closed_by",
            ),
            (
                "tidegate_tcp_connections_closed_total",
                "tidegate_closed_by",
            ),
            ("tidegate_quic_handshakes_total", "tidegate_resumed"),
            ("tidegate_quic_handshakes_failed_total", "error_type"),
            ("tidegate_quic_datagrams_dropped_total", "reason"),
            ("tidegate_quic_replies_total", "type"),
        ] {
            println!("  {name}: {:?}", by(name, label));
        }
        let kernel = sum(counted, "tidegate_quic_datagrams_kernel_dropped_total");
        let moved = sum(counted, "tidegate_quic_paths_changed_total");
        println!(
            "  {moved} validated changes of address; {kernel} datagrams dropped by the kernel"
        );
    }
}

/// What the record says otherwise than the client, or of a client that failed.
fn difference(visit: &Visit, record: &Value) -> Option<String> {
    if visit.failed {
        return Some(format!("the record of a client that failed: {record}"));
    }
    let begun = visit.begun.duration_since(UNIX_EPOCH).unwrap_or_default();
    let recorded = Duration::from_millis(record["started_at_ms"].as_u64().unwrap_or_default());
    let same = recorded.abs_diff(begun) < APART && record["requests"] == visit.requests;
    (!same).then(|| format!("the record is another one: {visit:?} {record}"))
}

/// A client's address before it moved.
fn first_address(record: &Value) -> SocketAddr {
    let moved = &record["audit"]["path_changes"][0]["from"];
    let address = moved.as_str().or(record["peer_address"].as_str());
    let address = address.and_then(|address| address.parse().ok());
    address.unwrap_or_else(|| panic!("it has an address: {record}"))
}

fn tcp_accepted(counted: &Samples) -> u64 {
    sum(counted, "tidegate_tcp_connections_accepted_total")
}

fn sum(counted: &Samples, name: &str) -> u64 {
    labelled(counted, name, &[])
}

fn labelled(counted: &Samples, name: &str, labels: &[(&str, &str)]) -> u64 {
    let sum = counted.sum(name, labels);
    sum.unwrap_or_else(|| panic!("{name} is not counted")) as u64
}
