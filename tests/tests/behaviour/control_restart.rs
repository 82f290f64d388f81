//! The control plane goes and comes back, and neither a request nor a record is lost.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tidegate_tests::{Gateway, H3, Target, Upstream, eventually, heavy};

/// Requests without end until told to stop; on connections of one request each, or on one.
struct Traffic {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Traffic {
    fn start(target: &Target) -> Self {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let tasks = [1, 1, u64::MAX, u64::MAX]
            .into_iter()
            .map(|requests| {
                tokio::spawn(client(target.clone(), requests, stop.clone(), done.clone()))
            })
            .collect();
        Self { stop, done, tasks }
    }

    /// Waits for so many more connections to come and go.
    async fn more(&self, connections: u64) {
        let goal = self.done.load(Ordering::SeqCst) + connections;
        eventually("traffic goes on", || async {
            (self.done.load(Ordering::SeqCst) >= goal).then_some(())
        })
        .await;
    }

    /// Addresses from which connections came.
    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        let mut peers = Vec::new();
        for task in self.tasks {
            peers.extend(task.await.expect("no request failed"));
        }
        peers
    }
}

async fn client(
    target: Target,
    requests: u64,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
) -> Vec<String> {
    let mut peers = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let client = H3::connect(&target).await;
        peers.push(client.local_address().to_string());
        // One at least: a close that overtakes the end of the handshake may not be readable.
        for made in 0..requests {
            if made > 0 && stop.load(Ordering::SeqCst) {
                break;
            }
            assert_eq!(client.get("/bytes/2000").await.status, 200);
        }
        done.fetch_add(1, Ordering::SeqCst);
        client.connection.close(quinn::VarInt::from_u32(0x100), b"");
    }
    peers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_and_each_connection_has_one_record() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream).await;
    let traffic = Traffic::start(&gateway.target());
    traffic.more(20).await;
    for _ in 0..3 {
        gateway.stop_control().await;
        traffic.more(20).await;
        gateway.start_control().await;
        traffic.more(20).await;
    }
    let peers = traffic.stop().await;
    assert!(
        peers.len() > 140,
        "connections came and went meanwhile: {}",
        peers.len()
    );

    let records = eventually("every connection is audited", || async {
        let records = gateway.admin().audit("").await;
        (records.len() >= peers.len()).then_some(records)
    })
    .await;
    let field = |pointer: &str| -> BTreeSet<String> {
        records
            .iter()
            .filter_map(|record| Some(record.pointer(pointer)?.as_str()?.to_owned()))
            .collect()
    };
    assert_eq!(
        field("/connection/id").len(),
        records.len(),
        "no connection has two records"
    );
    assert_eq!(
        records.len(),
        peers.len(),
        "no connection is without a record"
    );
    assert_eq!(
        field("/connection/peer_address"),
        peers.into_iter().collect()
    );
    let state = eventually("the dataplane reports", || async {
        let fleet = gateway.admin().read("/v1/dataplanes").await;
        let state = fleet["dataplanes"][0]["state"].clone();
        state.is_object().then_some(state)
    })
    .await;
    assert_eq!(state["dropped_records"], 0, "{state}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_reach_connections_that_are_older_than_the_control_plane() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    gateway.stop_control().await;
    gateway.start_control().await;
    gateway.ready().await;
    assert_eq!(client.get("/").await.status, 200);
    let id = gateway.admin().id_from(client.local_address()).await;
    let close = tidegate_tests::Close {
        send_application_close: true,
        error_code: 0x100,
        reason: "still yours",
    };
    assert_eq!(gateway.admin().close(&id, close).await.0, 200);
    tidegate_tests::within("the close comes", client.closed()).await;
    assert_eq!(
        gateway.admin().audited(&id).await["audit"]["closed_by"],
        "command"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_outlive_the_control_plane() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let id = gateway.admin().id_from(client.local_address()).await;
    drop(client);
    let before = gateway.admin().audited(&id).await;
    gateway.stop_control().await;
    gateway.start_control().await;
    assert_eq!(gateway.admin().audited(&id).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dataplane_starts_from_what_it_remembers_when_no_control_plane_is_there() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream).await;
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
    gateway.stop_control().await;
    gateway.stop_dataplane().await;
    gateway.start_dataplane().await;
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_meanwhile_is_in_service_after_the_return() {
    let (red, blue) = (Upstream::named("red").await, Upstream::named("blue").await);
    let mut gateway = Gateway::start(&red).await;
    let client = gateway.h3().await;
    assert_eq!(client.get("/").await.header("x-upstream"), "red");
    gateway.stop_control().await;
    gateway.folder.endpoints("app", &[blue.address]);
    assert_eq!(client.get("/").await.header("x-upstream"), "red");
    gateway.start_control().await;
    eventually("the change is in service", || async {
        (client.get("/").await.header("x-upstream") == "blue").then_some(())
    })
    .await;
    assert_eq!(
        client.connection.close_reason(),
        None,
        "all on one connection"
    );
}
