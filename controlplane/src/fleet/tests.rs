use std::time::Duration;

use tidegate_proto::v1::{
    command::Kind as Command, command_error::Code, command_reply::Kind as Reply,
    session_down::Message as Down, session_up::Message as Up,
};
use tonic::Code as Grpc;

use super::*;
use crate::harness::{FakeDataplane, Harness, configuration, eventually};

async fn acked(fleet: &Fleet, version: &str) {
    eventually(async || {
        let dataplanes = fleet.dataplanes();
        dataplanes
            .iter()
            .any(|dataplane| dataplane.acked_version == version)
            .then_some(())
    })
    .await;
}

async fn connected(fleet: &Fleet, count: usize) {
    eventually(async || (fleet.dataplanes().len() == count).then_some(())).await;
}

fn show() -> Command {
    Command::Show("edge.0.1.1".into())
}

#[tokio::test]
async fn a_dataplane_says_hello_and_gets_its_configuration() {
    let harness = Harness::start().await;
    harness
        .fleet
        .offer(configuration("v1", &[("default/shop:80", 8001)]));
    let mut dataplane = harness.dataplane("edge").await;
    let snapshot = dataplane.snapshot().await;
    assert_eq!(snapshot.version, "v1");
    let endpoints = dataplane.endpoints().await;
    assert_eq!(endpoints.backend_id, "default/shop:80");
    assert_eq!(endpoints.endpoints[0].port, 8001);

    dataplane.ack("v1").await;
    acked(&harness.fleet, "v1").await;
    let state = v1::DataplaneState {
        connections: 7,
        ..Default::default()
    };
    dataplane.say(Up::State(state.clone())).await;
    let shown = eventually(async || {
        harness
            .fleet
            .dataplanes()
            .into_iter()
            .find(|dataplane| dataplane.state.is_some())
    })
    .await;
    assert_eq!(shown.state, Some(state));
    assert_eq!(shown.hello.unwrap().dataplane_id, "edge");
    harness.shutdown().await;
}

#[tokio::test]
async fn a_configuration_that_comes_later_is_sent_when_it_is_there() {
    let harness = Harness::start().await;
    let mut dataplane = harness.dataplane("edge").await;
    connected(&harness.fleet, 1).await;
    harness.fleet.offer(configuration("v1", &[]));
    assert_eq!(dataplane.snapshot().await.version, "v1");
}

#[tokio::test]
async fn a_slow_dataplane_skips_versions() {
    let harness = Harness::start().await;
    harness.fleet.offer(configuration("v1", &[]));
    let mut dataplane = harness.dataplane("edge").await;
    assert_eq!(dataplane.snapshot().await.version, "v1");
    for version in ["v2", "v3", "v4"] {
        harness.fleet.offer(configuration(version, &[]));
    }
    assert!(dataplane.is_quiet().await, "one snapshot at a time");
    dataplane.ack("v1").await;
    assert_eq!(dataplane.snapshot().await.version, "v4");
}

#[tokio::test]
async fn a_dataplane_that_never_answers_gets_the_newest_all_the_same() {
    let patience = Patience {
        answer: Duration::from_millis(200),
        ..Patience::default()
    };
    let harness = Harness::with_patience(patience).await;
    harness.fleet.offer(configuration("v1", &[]));
    let mut dataplane = harness.dataplane("edge").await;
    assert_eq!(dataplane.snapshot().await.version, "v1");
    harness.fleet.offer(configuration("v2", &[]));
    assert_eq!(dataplane.snapshot().await.version, "v2");
}

#[tokio::test]
async fn changed_endpoints_come_without_a_snapshot() {
    let harness = Harness::start().await;
    harness
        .fleet
        .offer(configuration("v1", &[("a", 1), ("b", 1)]));
    let mut dataplane = harness.dataplane("edge").await;
    dataplane.snapshot().await;
    dataplane.endpoints().await;
    dataplane.endpoints().await;
    dataplane.ack("v1").await;
    harness
        .fleet
        .offer(configuration("v1", &[("a", 1), ("b", 2)]));
    let changed = dataplane.endpoints().await;
    assert_eq!(
        (&changed.backend_id[..], changed.endpoints[0].port),
        ("b", 2)
    );
    assert!(dataplane.is_quiet().await, "the other one is as it was");
}

#[tokio::test]
async fn a_refusal_is_kept_with_its_reasons_until_something_is_acknowledged() {
    let harness = Harness::start().await;
    harness.fleet.offer(configuration("v1", &[]));
    let mut dataplane = harness.dataplane("edge").await;
    dataplane.snapshot().await;
    dataplane.ack("v1").await;
    acked(&harness.fleet, "v1").await;
    harness.fleet.offer(configuration("v2", &[]));
    dataplane.snapshot().await;
    let rejection = v1::Rejection {
        object: "default/edge/https".into(),
        field: "port".into(),
        message: "in use".into(),
    };
    let nack = v1::Nack {
        version: "v2".into(),
        rejections: vec![rejection.clone()],
    };
    dataplane.say(Up::Nack(nack.clone())).await;
    let shown = eventually(async || {
        harness
            .fleet
            .dataplanes()
            .into_iter()
            .find(|dataplane| dataplane.nack.is_some())
    })
    .await;
    assert_eq!((&shown.acked_version[..], shown.nack), ("v1", Some(nack)));
    let answers = harness.fleet.answers();
    assert_eq!(answers["v2"].nacked["edge"], [rejection]);
    assert!(answers["v1"].acked.contains("edge"));

    harness.fleet.offer(configuration("v3", &[]));
    dataplane.snapshot().await;
    dataplane.ack("v3").await;
    acked(&harness.fleet, "v3").await;
    assert_eq!(harness.fleet.dataplanes()[0].nack, None);
}

#[tokio::test]
async fn a_command_gets_its_own_reply() {
    let harness = Harness::start().await;
    let mut dataplane = harness.dataplane("edge").await;
    connected(&harness.fleet, 1).await;
    let fleet = &harness.fleet;
    let (first, second, ()) = tokio::join!(
        fleet.command("edge", Command::Show("one".into())),
        fleet.command("edge", Command::Show("two".into())),
        async {
            let commands = [dataplane.command().await, dataplane.command().await];
            assert_ne!(commands[0].id, commands[1].id);
            for command in commands.into_iter().rev() {
                let Some(Command::Show(id)) = command.kind else {
                    panic!("{command:?}")
                };
                let connection = v1::Connection {
                    id,
                    ..Default::default()
                };
                let kind = Some(Reply::Connection(connection));
                dataplane
                    .say(Up::Reply(v1::CommandReply {
                        id: command.id,
                        kind,
                    }))
                    .await;
            }
        },
    );
    for (reply, id) in [(first, "one"), (second, "two")] {
        let Ok(Reply::Connection(connection)) = reply else {
            panic!("{reply:?}")
        };
        assert_eq!(connection.id, id);
    }
}

#[tokio::test]
async fn a_dataplane_may_refuse_a_command() {
    let harness = Harness::start().await;
    let gone = v1::CommandError {
        code: Code::NotFound.into(),
        message: "gone".into(),
    };
    let error = gone.clone();
    harness
        .dataplane("edge")
        .await
        .answering(move |_| Reply::Error(error.clone()));
    connected(&harness.fleet, 1).await;
    let result = harness.fleet.command("edge", show()).await;
    assert_eq!(result, Err(CommandFailure::Refused(gone)));
}

#[tokio::test]
async fn a_command_that_is_not_answered_times_out_and_its_place_is_free_again() {
    let patience = Patience {
        reply: Duration::from_millis(50),
        ..Patience::default()
    };
    let harness = Harness::with_patience(patience).await;
    let mut dataplane = harness.dataplane("edge").await;
    connected(&harness.fleet, 1).await;
    // More than may wait at once, so places are given back.
    for _ in 0..70 {
        let result = harness.fleet.command("edge", show()).await;
        assert_eq!(result, Err(CommandFailure::Timeout("edge".into())));
        dataplane.command().await;
    }
}

#[tokio::test]
async fn commands_beyond_the_bound_are_refused_at_once() {
    let harness = Harness::start().await;
    let dataplane = harness.dataplane("edge").await;
    connected(&harness.fleet, 1).await;
    let fleet = &harness.fleet;
    let commands = (0..200).map(|_| fleet.command("edge", show()));
    let results = futures_util::future::join_all(commands);
    let (results, ()) = tokio::join!(results, async {
        // The first ones wait until the session ends.
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(dataplane);
    });
    let count = |wanted: CommandFailure| {
        results
            .iter()
            .filter(|result| **result == Err(wanted.clone()))
            .count()
    };
    assert!(count(CommandFailure::Busy("edge".into())) >= 100);
    assert!(count(CommandFailure::Disconnected("edge".into())) >= 1);
}

#[tokio::test]
async fn a_command_ends_with_the_session() {
    let harness = Harness::start().await;
    let mut dataplane = harness.dataplane("edge").await;
    connected(&harness.fleet, 1).await;
    let (result, ()) = tokio::join!(harness.fleet.command("edge", show()), async {
        dataplane.command().await;
        drop(dataplane);
    });
    assert_eq!(result, Err(CommandFailure::Disconnected("edge".into())));
    connected(&harness.fleet, 0).await;
    let result = harness.fleet.command("edge", show()).await;
    assert_eq!(result, Err(CommandFailure::UnknownDataplane("edge".into())));
}

#[tokio::test]
async fn a_reconnect_replaces_the_old_session() {
    let harness = Harness::start().await;
    harness.fleet.offer(configuration("v1", &[]));
    let mut old = harness.dataplane("edge").await;
    old.snapshot().await;
    let mut new = harness.dataplane("edge").await;
    assert_eq!(
        new.snapshot().await.version,
        "v1",
        "it is told everything anew"
    );
    assert_eq!(old.end().await.code(), Grpc::Aborted);
    assert_eq!(harness.fleet.dataplanes().len(), 1);
    drop(old);
    new.answering(|_| Reply::Done(v1::Done {}));
    assert_eq!(
        harness.fleet.command("edge", show()).await,
        Ok(Reply::Done(v1::Done {}))
    );
    assert_eq!(
        harness.fleet.dataplanes().len(),
        1,
        "the old one's end is not the new one's"
    );
}

#[tokio::test]
async fn what_does_not_begin_with_a_whole_hello_is_refused() {
    let harness = Harness::start().await;
    let nameless = v1::Hello {
        instance_id: "run".into(),
        ..Default::default()
    };
    let endless = v1::Hello {
        dataplane_id: "x".repeat(254),
        ..nameless.clone()
    };
    for first in [
        Up::Ack(v1::Ack::default()),
        Up::Hello(nameless),
        Up::Hello(endless),
    ] {
        let mut stranger = FakeDataplane::begin(harness.session_addr, first).await;
        assert_eq!(stranger.end().await.code(), Grpc::InvalidArgument);
    }
    assert!(harness.fleet.dataplanes().is_empty());
}

#[tokio::test]
async fn a_session_without_a_hello_ends_in_time() {
    let patience = Patience {
        hello: Duration::from_millis(100),
        ..Patience::default()
    };
    let harness = Harness::with_patience(patience).await;
    let channel =
        tonic::transport::Channel::from_shared(format!("http://{}", harness.session_addr))
            .unwrap()
            .connect()
            .await
            .unwrap();
    let mut client = v1::control_client::ControlClient::new(channel);
    let silence = tokio_stream::pending::<v1::SessionUp>();
    let mut down = client.session(silence).await.unwrap().into_inner();
    assert_eq!(
        down.message().await.unwrap_err().code(),
        Grpc::DeadlineExceeded
    );
}

#[tokio::test]
async fn sessions_are_told_when_the_control_plane_stops() {
    let harness = Harness::start().await;
    let mut dataplane = harness.dataplane("edge").await;
    connected(&harness.fleet, 1).await;
    harness.shutdown().await;
    assert_eq!(dataplane.end().await.code(), Grpc::Unavailable);
}

/// A session of a dataplane that relays.
async fn relaying(harness: &Harness, id: &str) -> FakeDataplane {
    let hello = v1::Hello {
        dataplane_id: id.into(),
        instance_id: "run".into(),
        relay_address: "192.0.2.1:9094".into(),
        ..Default::default()
    };
    FakeDataplane::begin(harness.session_addr, Up::Hello(hello)).await
}

/// Reads until it is told of these; what comes before depends on time.
async fn is_told_of(dataplane: &mut FakeDataplane, ids: &[&str], complete: bool) {
    loop {
        match dataplane.next().await.unwrap() {
            Down::Peers(told) => {
                let named = told.peers.iter().map(|peer| &*peer.dataplane_id);
                if named.eq(ids.iter().copied()) && (told.complete || !complete) {
                    return;
                }
            }
            other => panic!("peers, not {other:?}"),
        }
    }
}

#[tokio::test]
async fn dataplanes_that_relay_are_told_who_comes_and_who_is_gone() {
    let patience = Patience {
        absence: Duration::from_millis(500),
        ..Patience::default()
    };
    let harness = Harness::with_patience(patience).await;
    let mut one = relaying(&harness, "one").await;
    is_told_of(&mut one, &["one"], false).await;
    let two = relaying(&harness, "two").await;
    is_told_of(&mut one, &["one", "two"], true).await;
    let left = std::time::Instant::now();
    drop(two);
    is_told_of(&mut one, &["one"], true).await;
    assert!(
        left.elapsed() >= patience.absence,
        "it might have drained still"
    );
}

#[tokio::test]
async fn a_dataplane_without_a_relay_hears_nothing_of_others_and_a_wrong_address_is_refused() {
    let harness = Harness::start().await;
    let mut plain = harness.dataplane("edge").await;
    let _other = relaying(&harness, "other").await;
    assert!(plain.is_quiet().await);
    let hello = v1::Hello {
        dataplane_id: "lost".into(),
        instance_id: "run".into(),
        relay_address: "nowhere".into(),
        ..Default::default()
    };
    let mut lost = FakeDataplane::begin(harness.session_addr, Up::Hello(hello)).await;
    assert_eq!(lost.end().await.code(), Grpc::InvalidArgument);
}
