//! Events and the history.

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::Value;
use tidegate_proto::v1::{self, record::Kind};

use crate::harness::{FakeReporter, Harness, PATIENCE};

fn connection(number: u64, alpn: &str) -> v1::Connection {
    v1::Connection {
        id: format!("edge.0.{number}.1"),
        tls: Some(v1::TlsInfo {
            alpn: alpn.into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn established(sequence: u64, connection: v1::Connection) -> v1::Record {
    v1::Record {
        sequence,
        kind: Some(Kind::Established(connection)),
    }
}

fn closed(sequence: u64, connection: v1::Connection) -> v1::Record {
    v1::Record {
        sequence,
        kind: Some(Kind::Closed(connection)),
    }
}

/// Reads server-sent events: name and data.
struct Events {
    body: std::pin::Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<bytes::Bytes>>>>,
    buffer: String,
}

impl Events {
    async fn of(harness: &Harness, query: &str) -> Self {
        let path = format!("/v1/events{query}");
        let response = harness
            .admin()
            .request(Method::GET, &path)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            body: Box::pin(response.bytes_stream()),
            buffer: String::new(),
        }
    }

    /// `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines
                        .find_map(|line| line.strip_prefix(name))
                        .map(str::trim)
                };
                let found = field("event:").zip(field("data:"));
                let found = found.map(|(name, data)| {
                    (
                        name.to_owned(),
                        serde_json::from_str(data).expect("data is JSON"),
                    )
                });
                self.buffer = rest.to_owned();
                match found {
                    Some(found) => return Some(found),
                    None => continue,
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.body.next())
                .await
                .expect("in time")?;
            self.buffer
                .push_str(std::str::from_utf8(&chunk.ok()?).unwrap());
        }
    }
}

#[tokio::test]
async fn events_are_seen_as_they_happen_by_whom_they_concern() {
    let harness = Harness::start().await;
    let mut all = Events::of(&harness, "").await;
    let mut h2 = Events::of(&harness, "?alpn=h2").await;
    let mut reporter = FakeReporter::connect(harness.session_addr).await;
    let records = vec![
        established(1, connection(1, "h3")),
        established(2, connection(2, "h2")),
        closed(3, connection(1, "h3")),
    ];
    assert_eq!(reporter.report(records.clone()).await.unwrap(), 3);
    for (kind, id) in [
        ("established", "edge.0.1.1"),
        ("established", "edge.0.2.1"),
        ("closed", "edge.0.1.1"),
    ] {
        let (name, data) = all.next().await.unwrap();
        assert_eq!((&name[..], data["id"].as_str()), (kind, Some(id)));
    }
    // What is sent again is no event.
    reporter.report(records).await.unwrap();
    reporter
        .report(vec![closed(4, connection(2, "h2"))])
        .await
        .unwrap();
    assert_eq!(all.next().await.unwrap().1["id"], "edge.0.2.1");
    for kind in ["established", "closed"] {
        let (name, data) = h2.next().await.unwrap();
        assert_eq!((&name[..], data["id"].as_str()), (kind, Some("edge.0.2.1")));
    }
    harness.shutdown().await;
    assert_eq!(all.next().await, None, "it ends with the control plane");
}

#[tokio::test]
async fn a_client_that_reads_too_slowly_is_told_what_it_lost() {
    let harness = Harness::start().await;
    let mut slow = Events::of(&harness, "").await;
    let mut reporter = FakeReporter::connect(harness.session_addr).await;
    let (mut sent, mut sequence) = (0_u64, 0_u64);
    // More than the socket's buffers and the ring of events can hold.
    for _ in 0..30 {
        let records = (0..1000).map(|_| {
            sequence += 1;
            let mut large = connection(sequence, "h3");
            large.peer_address = "x".repeat(500);
            established(sequence, large)
        });
        sent += reporter
            .report(records.collect())
            .await
            .map(|_| 1000)
            .unwrap();
    }
    // One that stays behind is told once it reads on.
    let last = format!("edge.0.{sequence}.1");
    let (mut seen, mut lost) = (0, 0);
    loop {
        let (name, data) = slow.next().await.unwrap();
        match &name[..] {
            "lagged" => lost += data["lost"].as_u64().unwrap(),
            _ => seen += 1,
        }
        if data["id"].as_str() == Some(&last) {
            break;
        }
    }
    assert!(lost > 0, "{seen} of {sent} were seen");
    assert_eq!(seen + lost, sent, "what was not seen is counted");
    let metrics = harness
        .admin()
        .anonymous(Method::GET, "/metrics")
        .send()
        .await
        .unwrap();
    let text = metrics.text().await.unwrap();
    assert!(
        text.contains(&format!("tidegate_controlplane_events_lost_total {lost}")),
        "{text}"
    );
}

#[tokio::test]
async fn the_history_is_shown_newest_first_page_by_page() {
    let harness = Harness::start().await;
    let mut reporter = FakeReporter::connect(harness.session_addr).await;
    let records = (1..=5)
        .map(|number| closed(number, connection(number, "h3")))
        .collect();
    reporter.report(records).await.unwrap();
    let (mut seen, mut before) = (Vec::new(), 0);
    loop {
        let path = format!("/v1/audit?limit=2&before={before}");
        let (status, page) = harness.admin().get(&path).await;
        assert_eq!(status, 200, "{page}");
        assert_eq!(page["total"], 5);
        for record in page["records"].as_array().unwrap() {
            assert!(record["received_at_ms"].as_i64().unwrap() > 0);
            seen.push(record["connection"]["id"].as_str().unwrap().to_owned());
        }
        before = page["next"].as_u64().unwrap();
        if before == 0 {
            break;
        }
    }
    assert_eq!(
        seen,
        [
            "edge.0.5.1",
            "edge.0.4.1",
            "edge.0.3.1",
            "edge.0.2.1",
            "edge.0.1.1"
        ]
    );
    let (_, one) = harness
        .admin()
        .get("/v1/audit?connection_id=edge.0.3.1")
        .await;
    assert_eq!(
        (&one["total"], &one["records"][0]["connection"]["id"]),
        (&1.into(), &"edge.0.3.1".into())
    );
    let (_, none) = harness.admin().get("/v1/audit?alpn=h2").await;
    assert_eq!(none["total"], 0);
}

#[tokio::test]
async fn a_report_of_nobody_is_refused() {
    let harness = Harness::start().await;
    let mut reporter = FakeReporter::connect(harness.session_addr).await;
    let nobody = v1::ReportBatch {
        instance_id: "run".into(),
        ..Default::default()
    };
    let refused = reporter.send(nobody).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn a_report_that_cannot_be_stored_is_not_acknowledged() {
    let harness = Harness::start().await;
    let mut reporter = FakeReporter::connect(harness.session_addr).await;
    harness.store.close().await;
    let refused = reporter
        .report(vec![closed(1, connection(1, "h3"))])
        .await
        .unwrap_err();
    assert_eq!(
        refused.code(),
        tonic::Code::Unavailable,
        "it will be sent again"
    );
}
