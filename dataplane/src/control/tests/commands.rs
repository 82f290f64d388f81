use std::time::Duration;

use tidegate_proto::v1::{
    CloseConnection, CloseSelected, Closed, ConnectionList, ConnectionShutdownBehaviour, Done,
    Drain, ListConnections, Selector, Undrain, command::Kind, command_error::Code,
    command_reply::Kind as Reply, session_down::Message as Down, session_up::Message as Up,
};

use super::{
    endpoints,
    plane::{Close, Plane, Replica, Session},
    snapshot,
};

/// Shard 0 has the slots 2, 5 and 9, shard 1 has 1 and 5.
async fn with_connections() -> (Plane, Session) {
    let mut replica = Replica::start().await;
    let plane = Plane::start(&[replica.address], None);
    *plane.stage.connections.lock().unwrap() = vec![vec![2, 5, 9], vec![1, 5]];
    let mut session = replica.session().await;
    session.snapshot(&snapshot("one")).await;
    session.send(Down::Endpoints(endpoints(&[8001]))).await;
    session.acked().await;
    (plane, session)
}

fn refusal(reply: Reply) -> (Code, String) {
    match reply {
        Reply::Error(error) => (error.code(), error.message),
        other => panic!("no refusal: {other:?}"),
    }
}

fn close(id: &str, behaviour: ConnectionShutdownBehaviour) -> Kind {
    Kind::Close(CloseConnection {
        connection_id: id.into(),
        behaviour: Some(behaviour),
    })
}

async fn page(session: &mut Session, limit: u32, after: &str) -> (Vec<String>, String) {
    let list = ListConnections {
        selector: None,
        limit,
        after: after.into(),
    };
    match session.command(1, Kind::List(list)).await {
        Reply::Connections(ConnectionList { connections, next }) => {
            (connections.into_iter().map(|it| it.id).collect(), next)
        }
        other => panic!("no list: {other:?}"),
    }
}

#[tokio::test]
async fn pages_go_through_all_shards_in_order_and_leave_nothing_out() {
    let (_plane, mut session) = with_connections().await;
    let all = [
        "edge.0.2.7",
        "edge.0.5.7",
        "edge.0.9.7",
        "edge.1.1.7",
        "edge.1.5.7",
    ];
    let (ids, next) = page(&mut session, 0, "").await;
    assert_eq!((ids, next.as_str()), (all.map(String::from).to_vec(), ""));
    for limit in 1..=5 {
        let (mut ids, mut next) = page(&mut session, limit, "").await;
        assert!(ids.len() <= limit as usize);
        while !next.is_empty() {
            assert_eq!(ids.last(), Some(&next));
            let (more, following) = page(&mut session, limit, &next).await;
            assert!(more.len() <= limit as usize);
            ids.extend(more);
            next = following;
        }
        assert_eq!(ids, all, "in pages of {limit}");
    }
}

#[tokio::test]
async fn a_connection_is_shown_and_closed_by_the_shard_that_owns_it() {
    let (plane, mut session) = with_connections().await;
    match session.command(1, Kind::Show("edge.1.5.7".into())).await {
        Reply::Connection(connection) => assert_eq!(connection.id, "edge.1.5.7"),
        other => panic!("no connection: {other:?}"),
    }
    let behaviour = ConnectionShutdownBehaviour {
        send_application_close: true,
        error_code: 0x107,
        reason: "maintenance".into(),
    };
    let reply = session.command(2, close("edge.1.5.7", behaviour)).await;
    assert_eq!(reply, Reply::Closed(Closed { count: 1 }));
    let closes = plane.stage.closes.lock().unwrap().clone();
    let expected = Close {
        shard: 1,
        slot: 5,
        error_code: 0x107,
        reason: b"maintenance".to_vec(),
    };
    assert_eq!(closes, [expected]);
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_makes_no_sense_is_invalid() {
    let (_plane, mut session) = with_connections().await;
    let plain = ConnectionShutdownBehaviour::default;
    let long = ConnectionShutdownBehaviour {
        reason: "x".repeat(257),
        ..plain()
    };
    let large = ConnectionShutdownBehaviour {
        error_code: 1 << 62,
        ..plain()
    };
    let cases = [
        (
            Kind::Show("edge.0.3.7".into()),
            Code::NotFound,
            "edge.0.3.7",
        ),
        (
            Kind::Show("edge.9.2.7".into()),
            Code::NotFound,
            "edge.9.2.7",
        ),
        (
            Kind::Show("other.0.2.7".into()),
            Code::NotFound,
            "other.0.2.7",
        ),
        (Kind::Show("nonsense".into()), Code::Invalid, "nonsense"),
        (close("edge.0.3.7", plain()), Code::NotFound, "edge.0.3.7"),
        (close("edge.0.2.7", long), Code::Invalid, "256"),
        (close("edge.0.2.7", large), Code::Invalid, "2^62"),
        (
            Kind::CloseSelected(CloseSelected::default()),
            Code::Invalid,
            "selector",
        ),
        (
            Kind::List(ListConnections {
                limit: 1001,
                ..Default::default()
            }),
            Code::Invalid,
            "1001",
        ),
        (
            Kind::List(ListConnections {
                after: "x".into(),
                ..Default::default()
            }),
            Code::Invalid,
            "`x`",
        ),
        (
            Kind::Drain(Drain {
                listener: "default/edge/none".into(),
                deadline_ms: 0,
            }),
            Code::NotFound,
            "default/edge/none",
        ),
    ];
    for (id, (kind, code, part)) in cases.into_iter().enumerate() {
        let shown = format!("{kind:?}");
        let (found, message) = refusal(session.command(id as u64, kind).await);
        assert_eq!(found, code, "{shown}: {message}");
        assert!(message.contains(part), "{shown}: {message}");
    }
}

#[tokio::test]
async fn a_selection_is_closed_on_every_shard() {
    let (_plane, mut session) = with_connections().await;
    let selected = CloseSelected {
        selector: Some(Selector {
            server_name: "shop.example".into(),
            ..Default::default()
        }),
        behaviour: None,
    };
    let reply = session.command(1, Kind::CloseSelected(selected)).await;
    assert_eq!(reply, Reply::Closed(Closed { count: 5 }));
}

#[tokio::test]
async fn a_drain_reaches_every_shard_and_takes_the_data_plane_out_of_service() {
    let (plane, mut session) = with_connections().await;
    let drain = |listener: &str, deadline_ms| {
        Kind::Drain(Drain {
            listener: listener.into(),
            deadline_ms,
        })
    };
    let drains = || plane.stage.drains.lock().unwrap().clone();

    let reply = session.command(1, drain("default/edge/http", 0)).await;
    assert_eq!(reply, Reply::Done(Done {}));
    let limit = Duration::from_secs(30);
    let listener = || Some("default/edge/http".to_owned());
    let mut found = drains();
    found.sort();
    assert_eq!(found, [(0, listener(), limit), (1, listener(), limit)]);
    assert_eq!(
        plane.reports.unready().await,
        None,
        "one listener is not the data plane"
    );

    session.command(2, drain("", 1500)).await;
    assert_eq!(drains().len(), 4);
    assert_eq!(drains()[3].2, Duration::from_millis(1500));
    assert_eq!(plane.reports.unready().await.as_deref(), Some("draining"));
    session
        .next(|up| match up {
            Up::State(state) => state.draining.then_some(()),
            _ => None,
        })
        .await;

    let reply = session.command(3, Kind::Undrain(Undrain::default())).await;
    assert_eq!(reply, Reply::Done(Done {}));
    assert_eq!(plane.reports.unready().await, None);
}
