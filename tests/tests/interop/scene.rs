//! Where a case plays: an upstream, a gateway, and a relay whose link is that of the
//! quic-interop-runner.

use std::{collections::HashSet, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_tests::{
    Builder, Faults, Gateway, Link, PacketType, Passed, Payload, Relay, Samples, Seen, Upstream,
    eventually,
};

use crate::{
    client::Client,
    task::{Report, Task, Visit},
};

/// The runner's: 15 ms, 10 Mbit/s, 25 packets.
pub(crate) const LINK: Link = Link {
    delay: Duration::from_millis(15),
    bandwidth: 10_000_000,
    queue: 25,
};

pub(crate) struct Scene {
    pub(crate) relay: Relay,
    gateway: Gateway,
    upstream: Upstream,
    home: TempDir,
    /// A client's last packet may be lost.
    lossy: bool,
}

/// What a case changes.
pub(crate) struct Setup {
    pub(crate) gateway: Builder,
    /// The `spec` of a QUICPolicy.
    pub(crate) policy: Value,
    pub(crate) faults: Faults,
    pub(crate) link: Link,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            gateway: Gateway::builder().shards(2),
            policy: json!({}),
            faults: Faults::default(),
            link: LINK,
        }
    }
}

/// What a client said, and what was seen of it.
pub(crate) struct Outcome {
    pub(crate) report: Report,
    /// Connections in the order in which they began, as the admin API shows them.
    pub(crate) connections: Vec<Value>,
    pub(crate) passed: Vec<Passed>,
    pub(crate) sources: Vec<std::net::SocketAddr>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) metrics: Samples,
}

impl Scene {
    pub(crate) async fn new(setup: Setup) -> Self {
        let upstream = Upstream::start().await;
        let builder = setup.gateway.start_with(|folder| {
            folder.service("app", &[upstream.address]);
            let rules = json!([{"backendRefs": [{"name": "app", "port": 80}]}]);
            folder.route("app", &[], &rules);
            folder.quic_policy(&setup.policy);
        });
        let gateway = builder.await;
        let lossy = setup.faults.loss > 0.0 || setup.faults.corruption > 0.0;
        let relay = Relay::over(gateway.https, setup.faults, setup.link).await;
        let home = tempfile::tempdir().expect("the system has a folder for temporary files");
        std::fs::write(home.path().join("authority.pem"), gateway.authority.pem())
            .expect("the folder is ours");
        Self {
            relay,
            gateway,
            upstream,
            home,
            lossy,
        }
    }

    /// Resolves when a client, which may take its time to start, has been answered.
    pub(crate) async fn begun(&self) {
        let answered = || async { (self.relay.bytes_down() > 0).then_some(()) };
        eventually("the client is answered", answered).await;
    }

    /// Lets a client make one visit.
    pub(crate) async fn visit(&self, client: &Client, paths: Vec<String>) -> Outcome {
        let visit = Visit {
            paths,
            ..Visit::default()
        };
        self.visits(client, vec![visit]).await
    }

    /// Lets a client make visits one after the other.
    pub(crate) async fn visits(&self, client: &Client, visits: Vec<Visit>) -> Outcome {
        self.run(client, self.task(visits)).await
    }

    pub(crate) fn task(&self, visits: Vec<Visit>) -> Task {
        Task {
            address: self.relay.address,
            server_name: "site.test".to_owned(),
            authority: self.home.path().join("authority.pem"),
            fresh: false,
            chacha20: false,
            visits,
        }
    }

    /// Runs the task. Every file must come whole, and there must be exactly one connection for
    /// each visit.
    pub(crate) async fn run(&self, client: &Client, task: Task) -> Outcome {
        let report = client.run(&task).await;
        whole(&task, &report);
        let connections = self.connections(task.visits.len()).await;
        Outcome {
            report,
            connections,
            passed: self.relay.passed(),
            sources: self.relay.sources(),
            seen: self.upstream.seen(),
            metrics: self.gateway.dataplane_metrics().await,
        }
    }

    /// Connections that have ended and, where a client's last packet may be lost, live ones.
    async fn connections(&self, count: usize) -> Vec<Value> {
        let admin = self.gateway.admin();
        let probe = || async {
            let mut live = admin.connections("").await;
            live.retain(|_| self.lossy);
            let ended = admin.audit("").await;
            let ended = ended.iter().map(|record| record["connection"].clone());
            // One that ends meanwhile is in both, and told of by its record.
            let mut all: Vec<Value> = ended.chain(live).collect();
            let mut ids = HashSet::new();
            all.retain(|one| {
                one["id"]
                    .as_str()
                    .is_some_and(|id| ids.insert(id.to_owned()))
            });
            // A handshake that noise began, or that a loss ended.
            all.retain(|one| !self.lossy || one["handshake"]["elapsed_us"] != 0);
            all.sort_by_key(|one| one["started_at_ms"].as_i64());
            assert!(all.len() <= count, "{count} were expected: {all:?}");
            (all.len() == count).then_some(all)
        };
        eventually("the connections are known", probe).await
    }
}

/// Files as the upstream has them: `/bytes/LENGTH`, with anything for a query.
fn whole(task: &Task, report: &Report) {
    assert_eq!(report.visits.len(), task.visits.len(), "{report:?}");
    for (asked, visited) in task.visits.iter().zip(&report.visits) {
        assert_eq!(visited.error, None, "{visited:?}");
        assert_eq!(visited.files.len(), asked.paths.len(), "{visited:?}");
        for (path, file) in asked.paths.iter().zip(&visited.files) {
            let bytes = path.trim_start_matches("/bytes/").split('?').next();
            let length = bytes.and_then(|bytes| bytes.parse().ok());
            let length = length.unwrap_or_else(|| panic!("{path} tells no length"));
            assert_eq!((&file.path, file.status, file.length), (path, 200, length));
            assert_eq!(file.sha256, Payload::of(length).sha256(), "{path}");
        }
    }
}

impl Outcome {
    /// The connection of a case with one visit.
    pub(crate) fn connection(&self) -> &Value {
        &self.connections[0]
    }

    /// Retry packets that the gateway sent.
    pub(crate) fn retries(&self) -> usize {
        let retry =
            |passed: &&Passed| !passed.from_client && passed.packets.contains(&PacketType::Retry);
        self.passed.iter().filter(retry).count()
    }

    /// Every client closed its connection without an error, and the record says so.
    pub(crate) fn closed_without_error(&self) {
        for connection in &self.connections {
            let audit = &connection["audit"];
            assert_eq!(audit["closed_by"], "peer", "{connection}");
            let code = &audit["recvd_conn_close_application_error_code"];
            assert_eq!(code, 0x100, "{connection}");
        }
    }
}
