use tidegate_proto::v1::{self, record::Kind};

use super::*;
use crate::selector::Selector;

fn closed(sequence: u64, connection: v1::Connection) -> v1::Record {
    v1::Record {
        sequence,
        kind: Some(Kind::Closed(connection)),
    }
}

fn connection(number: u64) -> v1::Connection {
    v1::Connection {
        id: format!("edge.0.{number}.1"),
        age_ms: number,
        ..Default::default()
    }
}

fn report(instance: &str, records: Vec<v1::Record>) -> v1::ReportBatch {
    v1::ReportBatch {
        dataplane_id: "edge".into(),
        instance_id: instance.into(),
        records,
    }
}

fn newest(limit: u32) -> Query {
    Query {
        limit,
        ..Default::default()
    }
}

async fn ids(store: &AuditStore, query: &Query) -> Vec<String> {
    let page = store.page(query).await.unwrap();
    page.records
        .into_iter()
        .map(|record| record.connection.unwrap().id)
        .collect()
}

#[tokio::test]
async fn what_is_sent_again_is_dropped_even_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = AuditStore::open(folder.path(), 100).await.unwrap();
    let established = v1::Record {
        sequence: 1,
        kind: Some(Kind::Established(connection(1))),
    };
    let first = vec![
        established,
        closed(2, connection(1)),
        closed(3, connection(2)),
    ];
    let appended = store.append(report("run", first.clone()), 7).await.unwrap();
    assert_eq!(
        (appended.fresh.len(), appended.duplicates, appended.sequence),
        (3, 0, 3)
    );
    store.close().await;

    let store = AuditStore::open(folder.path(), 100).await.unwrap();
    let again = first
        .into_iter()
        .chain([closed(4, connection(3))])
        .collect();
    let appended = store.append(report("run", again), 8).await.unwrap();
    assert_eq!(
        (appended.fresh.len(), appended.duplicates, appended.sequence),
        (1, 3, 4)
    );
    let page = store.page(&newest(10)).await.unwrap();
    assert_eq!(page.total, 3, "handshakes are no part of the history");
    assert_eq!(page.records[0].received_at_ms, 8);
    assert_eq!(
        page.records[0].connection.as_ref(),
        Some(&connection(3)),
        "newest first"
    );
}

#[tokio::test]
async fn a_new_run_of_a_dataplane_counts_from_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = AuditStore::open(folder.path(), 100).await.unwrap();
    for instance in ["one", "two"] {
        let appended = store
            .append(report(instance, vec![closed(1, connection(1))]), 0)
            .await
            .unwrap();
        assert_eq!((appended.fresh.len(), appended.sequence), (1, 1));
    }
    assert_eq!(store.page(&newest(10)).await.unwrap().total, 2);
}

#[tokio::test]
async fn an_empty_report_tells_how_far_the_history_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = AuditStore::open(folder.path(), 100).await.unwrap();
    store
        .append(report("run", vec![closed(5, connection(1))]), 0)
        .await
        .unwrap();
    assert_eq!(
        store
            .append(report("run", vec![]), 0)
            .await
            .unwrap()
            .sequence,
        5
    );
}

#[tokio::test]
async fn the_oldest_records_leave_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let store = AuditStore::open(folder.path(), 3).await.unwrap();
    let mut expired = 0;
    for number in 1..=5 {
        let records = vec![closed(number, connection(number))];
        expired += store
            .append(report("run", records), 0)
            .await
            .unwrap()
            .expired;
    }
    assert_eq!(expired, 2);
    assert_eq!(
        ids(&store, &newest(10)).await,
        ["edge.0.5.1", "edge.0.4.1", "edge.0.3.1"]
    );
    // What left is still known: it is not taken in again.
    let again = store
        .append(report("run", vec![closed(1, connection(1))]), 0)
        .await
        .unwrap();
    assert_eq!(again.duplicates, 1);
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let store = AuditStore::open(folder.path(), 100).await.unwrap();
    let records = (1..=7)
        .map(|number| closed(number, connection(number)))
        .collect();
    store.append(report("run", records), 0).await.unwrap();
    let (mut seen, mut before) = (Vec::new(), 0);
    loop {
        let page = store
            .page(&Query {
                before,
                ..newest(3)
            })
            .await
            .unwrap();
        assert_eq!(page.total, 7, "the total is over all pages");
        seen.extend(page.records.iter().map(|record| record.id));
        before = page.next;
        if before == 0 {
            break;
        }
    }
    assert_eq!(seen, [7, 6, 5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn a_selector_finds_what_it_means() {
    let folder = tempfile::tempdir().unwrap();
    let store = AuditStore::open(folder.path(), 100).await.unwrap();
    let made = |number: u64, peer: &str, name: &str, alpn: &str| v1::Connection {
        peer_address: peer.into(),
        listener_id: format!("default/edge/{alpn}"),
        tls: Some(v1::TlsInfo {
            server_name: name.into(),
            alpn: alpn.into(),
            ..Default::default()
        }),
        ..connection(number)
    };
    let connections = [
        made(1, "192.0.2.7:1000", "a.example", "h3"),
        made(2, "192.0.3.7:1000", "b.example", "h3"),
        made(3, "[2001:db8::7]:1000", "b.example", "h2"),
        v1::Connection {
            peer_address: "192.0.2.8:1".into(),
            ..connection(4)
        },
    ];
    let records = (1..)
        .zip(connections.clone())
        .map(|(number, made)| closed(number, made))
        .collect();
    store.append(report("run", records), 0).await.unwrap();

    let wire = v1::Selector::default;
    for (selector, expected) in [
        (wire(), &[4, 3, 2, 1][..]),
        (
            v1::Selector {
                server_name: "b.example".into(),
                ..wire()
            },
            &[3, 2],
        ),
        (
            v1::Selector {
                peer: "192.0.2.0/24".into(),
                ..wire()
            },
            &[4, 1],
        ),
        (
            v1::Selector {
                peer: "0.0.0.0/0".into(),
                ..wire()
            },
            &[4, 2, 1],
        ),
        (
            v1::Selector {
                peer: "::/0".into(),
                ..wire()
            },
            &[3],
        ),
        (
            v1::Selector {
                peer: "2001:db8::7".into(),
                ..wire()
            },
            &[3],
        ),
        (
            v1::Selector {
                listener: "default/edge/h3".into(),
                ..wire()
            },
            &[2, 1],
        ),
        (
            v1::Selector {
                alpn: "h3".into(),
                min_age_ms: 2,
                ..wire()
            },
            &[2],
        ),
        (
            v1::Selector {
                max_age_ms: 2,
                ..wire()
            },
            &[2, 1],
        ),
        (
            v1::Selector {
                server_name: "' OR 1=1 --".into(),
                ..wire()
            },
            &[],
        ),
    ] {
        let selector = Selector::parse(selector).unwrap();
        // The history and the filter of live events agree.
        let matching: Vec<_> = connections
            .iter()
            .rev()
            .filter(|made| selector.matches(made))
            .collect();
        let found = ids(
            &store,
            &Query {
                selector: selector.clone(),
                ..newest(10)
            },
        )
        .await;
        assert_eq!(
            found,
            matching
                .iter()
                .map(|made| made.id.clone())
                .collect::<Vec<_>>()
        );
        let numbers: Vec<_> = expected
            .iter()
            .map(|number| format!("edge.0.{number}.1"))
            .collect();
        assert_eq!(found, numbers, "{selector:?}");
    }
    let one = Query {
        connection_id: Some("edge.0.2.1".into()),
        ..newest(10)
    };
    assert_eq!(ids(&store, &one).await, ["edge.0.2.1"]);
}

#[tokio::test]
async fn a_number_beyond_sqlite_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let store = AuditStore::open(folder.path(), 100).await.unwrap();
    let endless = v1::Connection {
        age_ms: u64::MAX,
        ..connection(1)
    };
    store
        .append(report("run", vec![closed(u64::MAX, endless.clone())]), 0)
        .await
        .unwrap();
    let page = store.page(&newest(1)).await.unwrap();
    assert_eq!(
        page.records[0].connection.as_ref(),
        Some(&endless),
        "the record is exact"
    );
}

#[tokio::test]
async fn the_history_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let store = AuditStore::open(folder.path(), 100).await.unwrap();
    store
        .append(report("run", vec![closed(1, connection(1))]), 0)
        .await
        .unwrap();
    let files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(files.len() >= 2, "there is a write-ahead log too");
    for file in files {
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}", file.path());
    }
}
