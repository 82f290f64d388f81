//! What is asked of dataplanes, and what becomes of their answers.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use tidegate_proto::{
    ConnectionId,
    v1::{
        self, command::Kind as Command, command_error::Code, command_reply::Kind as Reply,
        session_up::Message as Up,
    },
};

use super::connected;
use crate::{
    fleet::Patience,
    harness::{Harness, answer, configuration, eventually},
};

/// What a dataplane was asked.
type Asked = Arc<Mutex<Vec<Command>>>;

fn connection(id: String) -> v1::Connection {
    v1::Connection {
        id,
        stage: "running".into(),
        ..Default::default()
    }
}

fn refusal(code: Code, message: &str) -> Reply {
    Reply::Error(v1::CommandError {
        code: code.into(),
        message: message.into(),
    })
}

/// Lists as a dataplane does: in order of id, after one, up to a limit.
fn page(connections: &[v1::Connection], list: &v1::ListConnections) -> Reply {
    let parsed = |id: &str| id.parse::<ConnectionId>().ok();
    let after = parsed(&list.after);
    let mut rest = connections
        .iter()
        .filter(|c| parsed(&c.id) > after)
        .cloned();
    let page: Vec<_> = rest.by_ref().take(list.limit as usize).collect();
    let next = rest
        .next()
        .and(page.last())
        .map_or_else(String::new, |last| last.id.clone());
    Reply::Connections(v1::ConnectionList {
        connections: page,
        next,
    })
}

/// A dataplane with this many connections, in shard 0.
async fn with_connections(harness: &Harness, id: &str, count: u32) -> Asked {
    let connections: Vec<_> = (1..=count)
        .map(|slot| connection(format!("{id}.0.{slot}.1")))
        .collect();
    let asked = Asked::default();
    let heard = Arc::clone(&asked);
    harness.dataplane(id).await.answering(move |command| {
        heard.lock().unwrap().push(command.clone());
        match command {
            Command::List(list) => page(&connections, &list),
            Command::Show(id) => match connections.iter().find(|c| c.id == id) {
                Some(found) => Reply::Connection(found.clone()),
                None => refusal(Code::NotFound, "it has ended"),
            },
            Command::Close(close) => {
                let there = connections.iter().any(|c| c.id == close.connection_id);
                Reply::Closed(v1::Closed {
                    count: there.into(),
                })
            }
            Command::CloseSelected(_) => Reply::Closed(v1::Closed {
                count: connections.len() as u64,
            }),
            Command::Drain(_) | Command::Undrain(_) | Command::StopCapture(_) => {
                Reply::Done(v1::Done {})
            }
            Command::BeginCapture(_) | Command::CaptureNext(_) | Command::ReadCapture(_) => {
                refusal(Code::NotFound, "nothing is captured here")
            }
        }
    });
    asked
}

#[tokio::test]
async fn connections_of_all_dataplanes_come_in_one_order_page_by_page() {
    let harness = Harness::start().await;
    // Slots above 9 would sort wrong as text.
    with_connections(&harness, "b", 12).await;
    with_connections(&harness, "a", 11).await;
    with_connections(&harness, "c", 0).await;
    connected(&harness, 3).await;
    let expected: Vec<String> = [("a", 11), ("b", 12)]
        .iter()
        .flat_map(|(id, count)| (1..=*count).map(move |slot| format!("{id}.0.{slot}.1")))
        .collect();
    for limit in [1, 4, 11, 23, 1000] {
        let (mut seen, mut after, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let path = format!("/v1/connections?limit={limit}&after={after}");
            let (status, page) = harness.admin().get(&path).await;
            assert_eq!(status, 200, "{page}");
            let connections = page["connections"].as_array().unwrap();
            assert!(connections.len() <= limit);
            seen.extend(
                connections
                    .iter()
                    .map(|c| c["id"].as_str().unwrap().to_owned()),
            );
            after = page["next"].as_str().unwrap().to_owned();
            pages += 1;
            if after.is_empty() {
                break;
            }
        }
        assert_eq!(seen, expected, "pages of {limit}");
        assert_eq!(pages, 23_usize.div_ceil(limit), "no empty page at the end");
    }
}

#[tokio::test]
async fn a_selector_reaches_the_dataplanes() {
    let harness = Harness::start().await;
    let asked = with_connections(&harness, "edge", 1).await;
    connected(&harness, 1).await;
    let query =
        "server_name=Shop.Example&peer=192.0.2.7/24&listener=d%2Fg%2Fl&min_age_ms=5&alpn=h3";
    let (status, _) = harness
        .admin()
        .get(&format!("/v1/connections?{query}"))
        .await;
    assert_eq!(status, 200);
    let selector = v1::Selector {
        server_name: "shop.example".into(),
        peer: "192.0.2.0/24".into(),
        listener: "d/g/l".into(),
        min_age_ms: 5,
        max_age_ms: 0,
        alpn: "h3".into(),
    };
    let list = v1::ListConnections {
        selector: Some(selector),
        limit: 100,
        after: String::new(),
    };
    assert_eq!(*asked.lock().unwrap(), [Command::List(list)]);
}

#[tokio::test]
async fn one_connection_is_shown_by_its_own_dataplane() {
    let harness = Harness::start().await;
    with_connections(&harness, "edge.eu-1", 2).await;
    with_connections(&harness, "edge", 0).await;
    connected(&harness, 2).await;
    let (status, shown) = harness.admin().get("/v1/connections/edge.eu-1.0.2.1").await;
    assert_eq!(
        (status.as_u16(), &shown["id"]),
        (200, &json!("edge.eu-1.0.2.1"))
    );
    assert_eq!(shown["stage"], "running");
    let (status, problem) = harness.admin().get("/v1/connections/edge.eu-1.0.3.1").await;
    assert_eq!(
        (status.as_u16(), &problem["detail"]),
        (404, &json!("it has ended"))
    );
}

#[tokio::test]
async fn a_close_says_what_the_client_shall_see() {
    let harness = Harness::start().await;
    let asked = with_connections(&harness, "edge", 1).await;
    connected(&harness, 1).await;
    let path = "/v1/connections/edge.0.1.1/close";
    let body = json!({"send_application_close": false, "error_code": 12, "reason": "bye"});
    let (status, closed) = harness.admin().post(path, &body).await;
    assert_eq!((status.as_u16(), closed), (200, json!({"count": 1})));
    let (status, _) = answer(harness.admin().request(Method::POST, path)).await;
    assert_eq!(status, 200, "no body is needed");

    let close = |send_application_close, error_code, reason: &str| {
        let reason = reason.into();
        let behaviour = v1::ConnectionShutdownBehaviour {
            send_application_close,
            error_code,
            reason,
        };
        let connection_id = "edge.0.1.1".into();
        Command::Close(v1::CloseConnection {
            connection_id,
            behaviour: Some(behaviour),
        })
    };
    assert_eq!(
        *asked.lock().unwrap(),
        [close(false, 12, "bye"), close(true, 256, "")]
    );

    let (status, problem) = harness
        .admin()
        .post("/v1/connections/edge.0.2.1/close", &json!({}))
        .await;
    assert_eq!(status, 404, "it had ended already: {problem}");
}

#[tokio::test]
async fn a_bulk_close_counts_over_all_dataplanes_and_needs_a_selector() {
    let harness = Harness::start().await;
    let asked = with_connections(&harness, "a", 3).await;
    with_connections(&harness, "b", 4).await;
    connected(&harness, 2).await;
    let admin = harness.admin();
    let path = "/v1/connections/close";
    for empty in [
        json!({"selector": {}}),
        json!({"selector": {"server_name": ""}}),
        json!({}),
    ] {
        let (status, problem) = admin.post(path, &empty).await;
        assert_eq!(status, 400, "{problem}");
    }
    assert!(asked.lock().unwrap().is_empty(), "nothing was closed");
    let body = json!({"selector": {"alpn": "h3"}, "behaviour": {"reason": "moved"}});
    let (status, closed) = admin.post(path, &body).await;
    assert_eq!((status.as_u16(), closed), (200, json!({"count": 7})));
    let asked = asked.lock().unwrap();
    let [Command::CloseSelected(close)] = &asked[..] else {
        panic!("{asked:?}")
    };
    assert_eq!(close.behaviour.as_ref().unwrap().reason, "moved");
}

#[tokio::test]
async fn a_dataplane_that_does_not_answer_is_a_504() {
    let patience = Patience {
        reply: Duration::from_millis(100),
        ..Patience::default()
    };
    let harness = Harness::with_patience(patience).await;
    with_connections(&harness, "a", 3).await;
    let _silent = harness.dataplane("b").await;
    connected(&harness, 2).await;
    let admin = harness.admin();
    for path in ["/v1/connections", "/v1/connections/b.0.1.1"] {
        let (status, problem) = admin.get(path).await;
        assert_eq!(status, 504, "{path}: {problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains("`b`"),
            "{problem}"
        );
    }
    assert_eq!(
        admin.get("/v1/connections/a.0.1.1").await.0,
        200,
        "the other one answers"
    );
    let body = json!({"selector": {"alpn": "h3"}});
    let (status, problem) = admin.post("/v1/connections/close", &body).await;
    assert_eq!(status, 504);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("3 connections were closed"), "{detail}");
}

#[tokio::test]
async fn a_busy_dataplane_is_a_503() {
    let harness = Harness::start().await;
    harness
        .dataplane("edge")
        .await
        .answering(|_| refusal(Code::Busy, "too much to do"));
    connected(&harness, 1).await;
    assert_eq!(
        harness.admin().get("/v1/connections/edge.0.1.1").await.0,
        503
    );
}

#[tokio::test]
async fn a_dataplane_is_drained_and_undrained() {
    let harness = Harness::start().await;
    let asked = with_connections(&harness, "edge", 0).await;
    connected(&harness, 1).await;
    let admin = harness.admin();
    let begun = json!({"dataplanes": ["edge"]});
    let body = json!({"deadline_ms": 9});
    let (status, drained) = admin.post("/v1/dataplanes/edge/drain", &body).await;
    assert_eq!((status.as_u16(), &drained), (200, &begun));
    let (status, undrained) = admin.post("/v1/dataplanes/edge/undrain", &json!({})).await;
    assert_eq!((status.as_u16(), &undrained), (200, &begun));
    let listener = String::new();
    let drain = v1::Drain {
        listener: listener.clone(),
        deadline_ms: 9,
    };
    let expected = [
        Command::Drain(drain),
        Command::Undrain(v1::Undrain { listener }),
    ];
    assert_eq!(*asked.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_listener_is_drained_wherever_it_is() {
    let harness = Harness::start().await;
    with_connections(&harness, "a", 0).await;
    let elsewhere = |_| refusal(Code::NotFound, "no such listener");
    harness.dataplane("b").await.answering(elsewhere);
    connected(&harness, 2).await;
    let path = "/v1/listeners/default%2Fedge%2Fhttps/drain";
    let (status, drained) = harness.admin().post(path, &json!({})).await;
    assert_eq!(
        (status.as_u16(), drained),
        (200, json!({"dataplanes": ["a"]}))
    );
}

#[tokio::test]
async fn listeners_show_what_dataplanes_say_of_them() {
    let harness = Harness::start().await;
    harness.fleet.offer(configuration("v1", &[]));
    let dataplane = harness.dataplane("edge").await;
    let on_it = v1::ListenerState {
        id: "default/edge/https".into(),
        connections: 5,
        draining: true,
        ..Default::default()
    };
    let state = v1::DataplaneState {
        listeners: vec![on_it],
        ..Default::default()
    };
    dataplane.say(Up::State(state)).await;
    let expected = json!({
        "id": "default/edge/https", "port": 8443, "hostname": "", "protocol": "https",
        "http3": true, "connections": 5, "draining": true,
    });
    eventually(async || {
        let (_, listed) = harness.admin().get("/v1/listeners").await;
        (listed["listeners"] == Value::from(vec![expected.clone()])).then_some(())
    })
    .await;
}
