mod commands;
pub(crate) mod plane;

use std::time::Duration;

use tidegate_proto::v1::{
    self, DataplaneState, Endpoints, Snapshot, session_down::Message as Down,
    session_up::Message as Up,
};
use tokio::time::{Instant, sleep};

use self::plane::{PATIENCE, Plane, Replica, version};
use super::Cache;
use crate::snapshot::fixture;

const BACKEND: &str = "default/shop:80";

fn snapshot(version: &str) -> Snapshot {
    Snapshot {
        version: version.into(),
        ..fixture::snapshot()
    }
}

fn endpoints(ports: &[u32]) -> Endpoints {
    let endpoint = |port: &u32| v1::Endpoint {
        address: "127.0.0.1".into(),
        port: *port,
    };
    Endpoints {
        backend_id: BACKEND.into(),
        endpoints: ports.iter().map(endpoint).collect(),
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn ports(plane: &Plane) -> Vec<u16> {
    let configuration = plane.configuration.borrow().clone();
    let endpoints = configuration.map(|configuration| configuration.endpoints.clone());
    let addresses = endpoints.unwrap_or_default();
    addresses
        .of(BACKEND)
        .iter()
        .map(|address| address.port())
        .collect()
}

#[tokio::test]
async fn a_snapshot_is_acknowledged_when_every_shard_serves_it_with_its_endpoints() {
    let mut replica = Replica::start().await;
    let plane = Plane::start(&[replica.address], None);
    let mut session = replica.session().await;
    assert_eq!(session.hello.dataplane_id, "edge");
    assert_eq!(session.hello.serving_version, "");
    assert_eq!(session.hello.shards, 2);
    assert!(plane.reports.unready().await.is_some());

    session.snapshot(&snapshot("one")).await;
    session.send(Down::Endpoints(endpoints(&[8001]))).await;
    assert_eq!(session.acked().await, "one");
    assert_eq!(plane.version().as_deref(), Some("one"));
    assert_eq!(
        ports(&plane),
        [8001],
        "no shard was given the snapshot without them"
    );
    assert_eq!(plane.reports.unready().await, None);

    session
        .send(Down::Endpoints(endpoints(&[8001, 8002])))
        .await;
    eventually("the shards have the new addresses", || {
        ports(&plane) == [8001, 8002]
    })
    .await;
    assert_eq!(version(&plane.configuration).as_deref(), Some("one"));
}

#[tokio::test]
async fn a_snapshot_whose_endpoints_never_come_is_served_all_the_same() {
    let mut replica = Replica::start().await;
    let plane = Plane::start(&[replica.address], None);
    let mut session = replica.session().await;
    session.snapshot(&snapshot("one")).await;
    session.snapshot(&snapshot("two")).await;
    assert_eq!(session.acked().await, "one");
    assert_eq!(session.acked().await, "two");
    assert_eq!(plane.version().as_deref(), Some("two"));
}

#[tokio::test]
async fn a_broken_snapshot_is_refused_with_every_reason_and_the_last_good_one_stays() {
    let mut replica = Replica::start().await;
    let plane = Plane::start(&[replica.address], None);
    let mut session = replica.session().await;
    session.snapshot(&snapshot("good")).await;
    session.send(Down::Endpoints(endpoints(&[8001]))).await;
    session.acked().await;

    let mut broken = snapshot("broken");
    broken.listeners[0].certificate_ids = vec!["default/missing".into()];
    broken.listeners[1].port = 70_000;
    session.snapshot(&broken).await;
    let nack = session.nacked().await;
    assert_eq!(nack.version, "broken");
    let objects: Vec<_> = nack.rejections.iter().map(|it| &*it.object).collect();
    assert!(objects.contains(&"default/edge/https"), "{nack:?}");
    assert!(objects.contains(&"default/edge/http"), "{nack:?}");
    assert_eq!(plane.version().as_deref(), Some("good"));
    assert_eq!(version(&plane.configuration).as_deref(), Some("good"));

    session.snapshot(&snapshot("better")).await;
    assert_eq!(session.acked().await, "better");
}

#[tokio::test]
async fn a_snapshot_that_one_shard_cannot_serve_is_taken_back_from_all() {
    let mut replica = Replica::start().await;
    let plane = Plane::start(&[replica.address], None);
    plane
        .stage
        .refuses
        .lock()
        .unwrap()
        .insert("unbindable".into(), 1);
    let mut session = replica.session().await;
    session.snapshot(&snapshot("good")).await;
    session.send(Down::Endpoints(endpoints(&[8001]))).await;
    session.acked().await;

    session.snapshot(&snapshot("unbindable")).await;
    let nack = session.nacked().await;
    assert_eq!(nack.version, "unbindable");
    assert_eq!(nack.rejections.len(), 1, "{nack:?}");
    assert_eq!(nack.rejections[0].field, "port");
    assert_eq!(plane.version().as_deref(), Some("good"));
    assert_eq!(version(&plane.configuration).as_deref(), Some("good"));
    assert_eq!(ports(&plane), [8001]);
}

#[tokio::test]
async fn after_a_break_the_session_comes_back_and_says_what_is_in_service() {
    let mut replica = Replica::start().await;
    let plane = Plane::start(&[replica.address], None);
    let mut session = replica.session().await;
    session.snapshot(&snapshot("one")).await;
    session.send(Down::Endpoints(endpoints(&[8001]))).await;
    session.acked().await;
    drop(session);

    let mut session = replica.session().await;
    assert_eq!(session.hello.serving_version, "one");
    assert_eq!(
        plane.version().as_deref(),
        Some("one"),
        "traffic goes on meanwhile"
    );
    // The control plane may send it again all the same.
    session.snapshot(&snapshot("one")).await;
    assert_eq!(session.acked().await, "one");
}

#[tokio::test]
async fn every_replica_has_a_session_and_the_same_snapshot_of_both_is_one() {
    let (mut first, mut second) = (Replica::start().await, Replica::start().await);
    let plane = Plane::start(&[first.address, second.address], None);
    let (mut one, mut two) = (first.session().await, second.session().await);
    one.snapshot(&snapshot("one")).await;
    one.send(Down::Endpoints(endpoints(&[8001]))).await;
    assert_eq!(one.acked().await, "one");
    assert_eq!(two.acked().await, "one", "it is told what is served");
    two.snapshot(&snapshot("one")).await;
    assert_eq!(two.acked().await, "one");
    drop((one, first));
    two.snapshot(&snapshot("two")).await;
    assert_eq!(two.acked().await, "two", "one replica is enough");
    assert_eq!(plane.version().as_deref(), Some("two"));
}

/// Later than any clock's error.
const LATER: i64 = 60_000;

#[tokio::test]
async fn a_replica_that_lags_throws_nothing_back_and_learns_what_is_served() {
    let (mut first, mut second) = (Replica::start().await, Replica::start().await);
    let plane = Plane::start(&[first.address, second.address], None);
    let (mut one, mut two) = (first.session().await, second.session().await);
    one.snapshot_of(&snapshot("three"), LATER).await;
    assert_eq!(one.acked().await, "three");
    assert_eq!(
        two.acked().await,
        "three",
        "all are told, though one sent it"
    );

    two.snapshot_of(&snapshot("two"), 1).await;
    assert_eq!(two.held().await, "two");
    drop((one, first));
    sleep(Duration::from_millis(500)).await;
    assert_eq!(plane.version().as_deref(), Some("three"));

    two.snapshot_of(&snapshot("four"), LATER + 1).await;
    assert_eq!(
        two.acked().await,
        "four",
        "it has caught up and is followed"
    );
    assert_eq!(plane.version().as_deref(), Some("four"));
}

#[tokio::test]
async fn what_a_replica_had_ready_is_served_when_the_followed_one_ends() {
    let (mut first, mut second) = (Replica::start().await, Replica::start().await);
    let plane = Plane::start(&[first.address, second.address], None);
    let (mut one, mut two) = (first.session().await, second.session().await);
    one.snapshot_of(&snapshot("one"), 1).await;
    one.send(Down::Endpoints(endpoints(&[8001]))).await;
    assert_eq!(one.acked().await, "one");
    assert_eq!(two.acked().await, "one");
    two.snapshot_of(&snapshot("two"), 2).await;
    two.send(Down::Endpoints(endpoints(&[8002]))).await;
    assert_eq!(two.held().await, "two");
    assert_eq!(ports(&plane), [8001]);

    drop((one, first));
    assert_eq!(two.acked().await, "two");
    eventually("its addresses too", || ports(&plane) == [8002]).await;
}

#[tokio::test]
async fn a_refusal_is_told_to_all_replicas() {
    let (mut first, mut second) = (Replica::start().await, Replica::start().await);
    let _plane = Plane::start(&[first.address, second.address], None);
    let (mut one, mut two) = (first.session().await, second.session().await);
    one.snapshot(&snapshot("good")).await;
    assert_eq!(one.acked().await, "good");
    assert_eq!(two.acked().await, "good");
    let mut broken = snapshot("broken");
    broken.listeners[1].port = 70_000;
    one.snapshot(&broken).await;
    assert_eq!(one.nacked().await.version, "broken");
    assert_eq!(two.nacked().await.version, "broken");
    two.snapshot(&broken).await;
    assert_eq!(
        two.nacked().await.version,
        "broken",
        "it need not be tried again"
    );
}

#[tokio::test]
async fn the_state_goes_up_when_it_changes() {
    let mut replica = Replica::start().await;
    let _plane = Plane::start(&[replica.address], None);
    let mut session = replica.session().await;
    session.snapshot(&snapshot("one")).await;
    session.send(Down::Endpoints(endpoints(&[8001]))).await;
    let state: DataplaneState = session
        .next(|up| match up {
            Up::State(state) => Some(state).filter(|state| state.serving_version == "one"),
            _ => None,
        })
        .await;
    let ids: Vec<_> = state
        .listeners
        .iter()
        .map(|listener| &*listener.id)
        .collect();
    assert_eq!(ids, ["default/edge/http", "default/edge/https"]);
    assert!(
        state
            .listeners
            .iter()
            .all(|listener| listener.tcp_up && listener.quic_up)
    );
}

#[tokio::test]
async fn the_last_good_snapshot_is_served_when_no_control_plane_answers() {
    let folder = tempfile::tempdir().unwrap();
    {
        let mut replica = Replica::start().await;
        let _plane = Plane::start(&[replica.address], Some(folder.path().into()));
        let mut session = replica.session().await;
        session.snapshot(&snapshot("kept")).await;
        session.send(Down::Endpoints(endpoints(&[8001]))).await;
        session.acked().await;
        let mut broken = snapshot("broken");
        broken.listeners[1].port = 70_000;
        session.snapshot(&broken).await;
        session.nacked().await;
        let cache = Cache::new(folder.path());
        eventually("the snapshot is cached", || {
            cache
                .load()
                .unwrap()
                .is_some_and(|(snapshot, _)| snapshot.version == "kept")
        })
        .await;
    }
    let mut replica = Replica::start().await;
    let plane = Plane::start(&[replica.address], Some(folder.path().into()));
    // It is there, but says nothing.
    let silent = replica.session().await;
    assert_eq!(silent.hello.serving_version, "");
    eventually("the cached snapshot is in service", || {
        plane.version().is_some()
    })
    .await;
    assert_eq!(plane.version().as_deref(), Some("kept"));
    assert_eq!(ports(&plane), [8001]);
    drop(silent);

    let mut session = replica.session().await;
    assert_eq!(session.hello.serving_version, "kept");
    session.snapshot(&snapshot("newer")).await;
    assert_eq!(session.acked().await, "newer");
}
