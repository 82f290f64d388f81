//! A command closes a connection: the client sees what was sent, the audit says who and why.

use std::time::{Duration, Instant};

use quinn::ConnectionError;
use serde_json::{Value, json};
use tidegate_tests::{Close, Gateway, H3, Tcp, Upstream, Wire, eventually, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_sees_the_application_code_and_reason_at_once() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut fastest = Duration::MAX;
    for attempt in 0..5u64 {
        let client = gateway.h3().await;
        client.get("/").await;
        let id = gateway.admin().id_from(client.local_address()).await;
        let close = Close {
            send_application_close: true,
            error_code: 0x1000 + attempt,
            reason: "maintenance at noon",
        };
        let begin = Instant::now();
        let (command, seen) = tokio::join!(
            gateway.admin().close(&id, close),
            within("the close comes", client.closed())
        );
        fastest = fastest.min(begin.elapsed());
        assert_eq!((command.0.as_u16(), &command.1["count"]), (200, &1.into()));
        let ConnectionError::ApplicationClosed(frame) = seen else {
            panic!("closed by {seen:?}")
        };
        assert_eq!(frame.error_code.into_inner(), 0x1000 + attempt);
        assert_eq!(frame.reason, "maintenance at noon");

        let record = gateway.admin().audited(&id).await;
        let audit = &record["audit"];
        assert_eq!(audit["closed_by"], "command");
        assert_eq!(
            audit["sent_conn_close_application_error_code"],
            0x1000 + attempt
        );
        assert_eq!(audit["connection_close_reason"], "maintenance at noon");
        assert!(
            audit["sent_conn_close_transport_error_code"].is_null(),
            "{audit}"
        );
        assert_eq!(
            (&record["stage"], &record["requests"]),
            (&"closed".into(), &1.into())
        );
        // It lingers for its closing period (RFC 9000 10.2).
        eventually("it is gone", || async {
            let answer = gateway.admin().get(&format!("/v1/connections/{id}")).await;
            (answer.0 == 404).then_some(())
        })
        .await;
    }
    assert!(
        fastest < Duration::from_millis(200),
        "the fastest of five took {fastest:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transport_close_is_one() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let id = gateway.admin().id_from(client.local_address()).await;
    // RFC 9000 20.1: CONNECTION_REFUSED.
    let close = Close {
        send_application_close: false,
        error_code: 2,
        reason: "not here",
    };
    assert_eq!(gateway.admin().close(&id, close).await.0, 200);
    let seen = within("the close comes", client.closed()).await;
    let ConnectionError::ConnectionClosed(frame) = seen else {
        panic!("closed by {seen:?}")
    };
    assert_eq!(
        (u64::from(frame.error_code), &frame.reason[..]),
        (2, &b"not here"[..])
    );
    let audit = gateway.admin().audited(&id).await["audit"].clone();
    assert_eq!(audit["closed_by"], "command");
    assert_eq!(audit["sent_conn_close_transport_error_code"], 2);
    assert!(
        audit["sent_conn_close_application_error_code"].is_null(),
        "{audit}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_takes_its_requests_with_it() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    let mut stream = client
        .open(client.request("GET", "/never"))
        .await
        .expect("it begins");
    stream.finish().await.expect("it has no body");
    eventually("the request is under way", || async {
        (upstream.active() == 1).then_some(())
    })
    .await;
    let id = gateway.admin().id_from(client.local_address()).await;
    let close = Close {
        send_application_close: true,
        error_code: 0x100,
        reason: "",
    };
    assert_eq!(gateway.admin().close(&id, close).await.0, 200);
    eventually("the upstream hears of it", || async {
        (upstream.cancelled() == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_connections_are_closed_by_the_same_command() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    for target in [gateway.target(), gateway.cleartext()] {
        for wire in [Wire::H1, Wire::H2] {
            let mut client = Tcp::connect(&target, wire).await;
            assert_eq!(client.get("/").await.status, 200);
            let id = gateway.admin().id_from(client.local_address()).await;
            let close = Close {
                send_application_close: true,
                error_code: 0x100,
                reason: "moving house",
            };
            assert_eq!(gateway.admin().close(&id, close).await.0, 200);
            let _ = within("the connection ends", client.closed()).await;
            let audit = gateway.admin().audited(&id).await["audit"].clone();
            assert_eq!(
                (&audit["closed_by"], &audit["connection_close_reason"]),
                (&"command".into(), &"moving house".into())
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_connections_are_not_found_and_nothing_is_closed() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let id = gateway.admin().id_from(client.local_address()).await;
    let (slot, generation) = id.rsplit_once('.').expect("an id has four parts");
    let another_generation = format!(
        "{slot}.{}",
        generation.parse::<u64>().expect("a number") + 1
    );
    let close = Close {
        send_application_close: true,
        error_code: 0x100,
        reason: "",
    };
    for unknown in [
        another_generation.as_str(),
        "edge.0.9999.1",
        "edge.200.0.1",
        "nowhere.0.0.1",
    ] {
        let (status, problem) = gateway.admin().close(unknown, close).await;
        assert_eq!(
            (status.as_u16(), &problem["status"]),
            (404, &404.into()),
            "{unknown}: {problem}"
        );
    }
    assert_eq!(gateway.admin().close("nonsense", close).await.0, 400);
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selection_is_closed_and_no_other() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let connect = |name: &str| {
        let target = gateway.target().named(name);
        async move {
            let client = H3::connect(&target).await;
            client.get("/").await;
            client
        }
    };
    let (a1, a2, b) = (
        connect("a.site.test").await,
        connect("a.site.test").await,
        connect("b.site.test").await,
    );
    let mut tcp = Tcp::connect(&gateway.target().named("a.site.test"), Wire::H2).await;
    tcp.get("/").await;
    let selected = gateway
        .admin()
        .connections("server_name=a.site.test&alpn=h3")
        .await;
    assert_eq!(selected.len(), 2);

    let behaviour = Close {
        send_application_close: true,
        error_code: 0x10a,
        reason: "chosen",
    }
    .json();
    let body =
        json!({"selector": {"server_name": "a.site.test", "alpn": "h3"}, "behaviour": behaviour});
    let (status, closed) = gateway.admin().post("/v1/connections/close", &body).await;
    assert_eq!(
        (status.as_u16(), &closed["count"]),
        (200, &2.into()),
        "{closed}"
    );
    for client in [&a1, &a2] {
        let seen = within("the close comes", client.closed()).await;
        let ConnectionError::ApplicationClosed(frame) = seen else {
            panic!("closed by {seen:?}")
        };
        assert_eq!(
            (frame.error_code.into_inner(), &frame.reason[..]),
            (0x10a, &b"chosen"[..])
        );
    }
    assert_eq!(b.get("/").await.status, 200);
    assert_eq!(tcp.get("/").await.status, 200);
    eventually("both are audited", || async {
        (gateway.admin().audit("server_name=a.site.test").await.len() == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_close_without_a_selection_is_refused() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let behaviour = Close {
        send_application_close: true,
        error_code: 0x100,
        reason: "",
    }
    .json();
    let body = json!({"selector": {}, "behaviour": behaviour});
    assert_eq!(
        gateway.admin().post("/v1/connections/close", &body).await.0,
        400
    );
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_agrees_with_what_clients_counted() {
    const CONNECTIONS: u64 = 30;
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let (mut requests, mut received, mut peers) = (0, 0, Vec::new());
    for turn in 0..CONNECTIONS {
        let client = gateway.h3().await;
        for _ in 0..=turn % 4 {
            received += client.get("/bytes/10000").await.body.len() as u64;
            requests += 1;
        }
        peers.push(client.local_address().to_string());
        if turn % 3 == 0 {
            let id = gateway.admin().id_from(client.local_address()).await;
            let close = Close {
                send_application_close: true,
                error_code: 0x100,
                reason: "third",
            };
            assert_eq!(gateway.admin().close(&id, close).await.0, 200);
            within("the close comes", client.closed()).await;
        } else {
            client
                .connection
                .close(quinn::VarInt::from_u32(0x100), b"bye");
            client.endpoint.wait_idle().await;
        }
    }
    let records = eventually("every connection is audited", || async {
        let records = gateway.admin().audit("").await;
        (records.len() as u64 >= CONNECTIONS).then_some(records)
    })
    .await;
    let connections: Vec<&Value> = records.iter().map(|record| &record["connection"]).collect();
    let sum = |pointer: &str| -> u64 {
        connections
            .iter()
            .filter_map(|one| one.pointer(pointer)?.as_u64())
            .sum()
    };
    let by = |who: &str| {
        connections
            .iter()
            .filter(|one| one["audit"]["closed_by"] == who)
            .count() as u64
    };
    assert_eq!(records.len() as u64, CONNECTIONS);
    assert_eq!(sum("/requests"), requests);
    assert!(
        sum("/stats/bytes_sent") > received,
        "{} for {received}",
        sum("/stats/bytes_sent")
    );
    assert_eq!(
        (by("command"), by("peer")),
        (CONNECTIONS / 3, CONNECTIONS - CONNECTIONS / 3)
    );
    let mut audited: Vec<&str> = connections
        .iter()
        .filter_map(|one| one["peer_address"].as_str())
        .collect();
    audited.sort_unstable();
    peers.sort_unstable();
    assert_eq!(audited, peers);
    for one in connections
        .iter()
        .filter(|one| one["audit"]["closed_by"] == "peer")
    {
        assert_eq!(
            one["audit"]["recvd_conn_close_application_error_code"],
            0x100
        );
        assert_eq!(one["audit"]["connection_close_reason"], "bye");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_says_goodbye_gets_its_last_answer_and_is_let_go() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    let last = client.get("/gate/last");
    let goodbye = async {
        eventually("the request is under way", || async {
            (upstream.active() == 1).then_some(())
        })
        .await;
        client.leave();
        upstream.open("last");
    };
    let (answer, ()) = tokio::join!(last, goodbye);
    assert_eq!(answer.status, 200);
    let ConnectionError::ApplicationClosed(frame) = within("it ends", client.closed()).await else {
        panic!("not by the gateway");
    };
    assert_eq!(frame.error_code.into_inner(), H3_NO_ERROR);
}

/// RFC 9114 8.1.
const H3_NO_ERROR: u64 = 0x100;
