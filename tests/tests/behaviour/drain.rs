//! Draining: what is under way finishes, what comes later may be tried elsewhere, and the
//! connection ends cleanly.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;
use h3::error::{Code, StreamError};
use quinn::ConnectionError;
use serde_json::json;
use tidegate_tests::{Gateway, H3, Target, Tcp, Upstream, Wire, eventually, heavy, within};

const LISTENER: &str = "default/edge/https";
/// Time for one attempt to connect; nobody may be there to refuse it.
const ATTEMPT: std::time::Duration = std::time::Duration::from_secs(1);
/// RFC 9114 8.1.
const H3_NO_ERROR: u64 = 0x100;

/// Whether the request surely was not processed, so that any client may send it again.
fn is_retryable(error: &StreamError) -> bool {
    match error {
        StreamError::RemoteClosing { .. } => true,
        StreamError::RemoteTerminate { code, .. } => *code == Code::H3_REQUEST_REJECTED,
        other => other.is_h3_no_error(),
    }
}

async fn drain(gateway: &Gateway) {
    let (status, answer) = gateway
        .admin()
        .drain_listener(LISTENER, &json!({"deadline_ms": 20_000}))
        .await;
    assert_eq!(
        (status.as_u16(), &answer["dataplanes"]),
        (200, &json!(["edge"])),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_under_way_finish_and_later_ones_are_refused_as_retryable() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    let id = {
        client.get("/").await;
        gateway.admin().id_from(client.local_address()).await
    };
    let slow = client.get("/gate/slow");
    let meanwhile = async {
        eventually("the request is under way", || async {
            (upstream.active() == 1).then_some(())
        })
        .await;
        drain(&gateway).await;
        let refusal = eventually("later requests are refused", || async {
            client
                .send(client.request("GET", "/late"), Bytes::new())
                .await
                .err()
        })
        .await;
        assert!(is_retryable(&refusal), "{refusal:?}");
        assert!(gateway.admin().connection(&id).await["draining"] == true);
        upstream.open("slow");
    };
    let (answer, ()) = tokio::join!(slow, meanwhile);
    assert_eq!(answer.status, 200, "what was under way finishes");
    match within("the connection ends", client.closed()).await {
        ConnectionError::ApplicationClosed(frame) => {
            assert_eq!(frame.error_code.into_inner(), H3_NO_ERROR)
        }
        // The client had nothing left to do and was first.
        ConnectionError::LocallyClosed => {}
        other => panic!("closed by {other:?}"),
    }
    let record = gateway.admin().audited(&id).await;
    assert!(
        ["drain", "peer"].contains(&record["audit"]["closed_by"].as_str().expect("a word")),
        "{record}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_end_cleanly() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let id = gateway.admin().id_from(client.local_address()).await;
    let (mut h2, mut h1) = (gateway.h2().await, gateway.h1().await);
    h2.get("/").await;
    h1.get("/").await;
    drain(&gateway).await;
    let seen = within("the connection ends", client.closed()).await;
    let ConnectionError::ApplicationClosed(frame) = seen else {
        panic!("closed by {seen:?}")
    };
    assert_eq!(frame.error_code.into_inner(), H3_NO_ERROR);
    assert_eq!(
        gateway.admin().audited(&id).await["audit"]["closed_by"],
        "drain"
    );
    within("HTTP/2 ends", h2.closed())
        .await
        .expect("with GOAWAY, not an error");
    let _ = within("HTTP/1.1 ends", h1.closed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_what_does_not_finish() {
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
    let (status, _) = gateway
        .admin()
        .drain_listener(LISTENER, &json!({"deadline_ms": 500}))
        .await;
    assert_eq!(status, 200);
    within("the connection ends", client.closed()).await;
    eventually("the upstream hears of it", || async {
        (upstream.cancelled() == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_listeners_serve_on() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut clear = Tcp::connect(&gateway.cleartext(), Wire::H1).await;
    clear.get("/").await;
    drain(&gateway).await;
    eventually("the listener says so", || async {
        let listeners = gateway.admin().read("/v1/listeners").await;
        let all = listeners["listeners"].as_array().expect("a list").clone();
        all.into_iter()
            .find(|listener| listener["id"] == LISTENER && listener["draining"] == true)
    })
    .await;
    assert_eq!(clear.get("/").await.status, 200);
    assert_eq!(
        Tcp::connect(&gateway.cleartext(), Wire::H2)
            .await
            .get("/")
            .await
            .status,
        200
    );
}

/// Sends one request after the other, and connects again whenever the server asks for it.
async fn patient_client(target: Target, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) -> u64 {
    let mut connections = 0;
    while !stop.load(Ordering::SeqCst) {
        // Nobody listens while everything is drained; the next attempt may succeed.
        let attempt = tokio::time::timeout(ATTEMPT, H3::try_connect(&target));
        let Ok(Ok(client)) = attempt.await else {
            continue;
        };
        connections += 1;
        while !stop.load(Ordering::SeqCst) {
            match client
                .send(client.request("GET", "/bytes/3000"), Bytes::new())
                .await
            {
                Ok(answer) => {
                    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 3000));
                    done.fetch_add(1, Ordering::SeqCst);
                }
                Err(error) if is_retryable(&error) => break,
                Err(error) => panic!("a request failed: {error:?}"),
            }
        }
    }
    connections
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reconnects_loses_no_request() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let clients: Vec<_> = (0..4)
        .map(|_| tokio::spawn(patient_client(gateway.target(), stop.clone(), done.clone())))
        .collect();
    let more = |requests: u64| {
        let goal = done.load(Ordering::SeqCst) + requests;
        let done = done.clone();
        async move {
            eventually("traffic goes on", || async {
                (done.load(Ordering::SeqCst) >= goal).then_some(())
            })
            .await;
        }
    };
    more(40).await;
    for _ in 0..3 {
        drain(&gateway).await;
        eventually("the connections of before are gone", || async {
            let left = gateway
                .admin()
                .connections("listener=default/edge/https")
                .await;
            left.iter()
                .all(|connection| connection["draining"] != true)
                .then_some(())
        })
        .await;
        assert_eq!(gateway.admin().undrain_listener(LISTENER).await.0, 200);
        more(40).await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut connections = 0;
    for client in clients {
        connections += client.await.expect("no request failed");
    }
    assert!(
        connections >= 16,
        "each client connected again after each drain: {connections}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_dataplane_is_not_ready_until_it_is_undrained() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let (status, answer) = gateway
        .admin()
        .post("/v1/dataplanes/edge/drain", &json!({}))
        .await;
    assert_eq!(
        (status.as_u16(), &answer["dataplanes"]),
        (200, &json!(["edge"])),
        "{answer}"
    );
    within("the connection ends", client.closed()).await;
    let draining = || async {
        gateway.admin().read("/v1/dataplanes").await["dataplanes"][0]["state"]["draining"].as_bool()
    };
    eventually("the dataplane says so", || async {
        (draining().await == Some(true)).then_some(())
    })
    .await;
    assert_eq!(
        gateway
            .admin()
            .post("/v1/dataplanes/edge/undrain", &json!({}))
            .await
            .0,
        200
    );
    eventually("the dataplane says so", || async {
        (draining().await == Some(false)).then_some(())
    })
    .await;
    gateway.ready().await;
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_the_dataplane_drains_it() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    let slow = client.get("/gate/slow");
    let stop = async {
        eventually("the request is under way", || async {
            (upstream.active() == 1).then_some(())
        })
        .await;
        let release = async {
            eventually("later requests are refused", || async {
                client
                    .send(client.request("GET", "/late"), Bytes::new())
                    .await
                    .err()
            })
            .await;
            upstream.open("slow");
        };
        tokio::join!(gateway.stop_dataplane(), release);
    };
    let (answer, ()) = tokio::join!(slow, stop);
    assert_eq!(answer.status, 200, "what was under way finishes");
}

/// Whether nobody has the port, not even to share it.
fn is_free(address: std::net::SocketAddr) -> bool {
    std::net::UdpSocket::bind(address).is_ok() && std::net::TcpListener::bind(address).is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dataplane_that_has_ended_keeps_no_port() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream).await;
    for orderly in [true, false] {
        let client = gateway.h3().await;
        assert_eq!(client.get("/").await.status, 200);
        let mut tcp = gateway.h2().await;
        assert_eq!(tcp.get("/").await.status, 200);
        if orderly {
            gateway.stop_dataplane().await;
        } else {
            gateway.kill_dataplane();
        }
        drop((client, tcp));
        eventually("the ports are free", || async {
            is_free(gateway.https).then_some(())
        })
        .await;
        gateway.start_dataplane().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_listeners_and_dataplanes_are_not_found() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    assert_eq!(
        gateway
            .admin()
            .drain_listener("default/edge/none", &json!({}))
            .await
            .0,
        404
    );
    assert_eq!(
        gateway
            .admin()
            .post("/v1/dataplanes/none/drain", &json!({}))
            .await
            .0,
        404
    );
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
}
