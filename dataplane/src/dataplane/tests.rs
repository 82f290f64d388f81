use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tidegate_proto::v1::Snapshot;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};

use super::Dataplane;
use crate::{
    Config,
    control::tests::plane::{PATIENCE, Replica, Session},
    snapshot::fixture,
};

fn config(control: SocketAddr) -> Config {
    Config {
        id: "edge".into(),
        control: vec![format!("http://{control}")],
        shards: 2,
        admin_listen: Some((Ipv4Addr::LOCALHOST, 0).into()),
        drain_deadline: Duration::from_secs(10),
        otlp_endpoint: None,
        ..Config::default()
    }
}

/// Cleartext HTTP on a port that is free now.
async fn snapshot(version: &str) -> (Snapshot, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut listener = fixture::http("default/edge/http", address.port().into(), "");
    listener.addresses = vec!["127.0.0.1".into()];
    let snapshot = Snapshot {
        version: version.into(),
        listeners: vec![listener],
        keys: Some(fixture::keys()),
        ..Default::default()
    };
    (snapshot, address)
}

/// Asks on a connection of its own. Status and the rest.
async fn ask(address: SocketAddr, path: &str) -> (u16, String) {
    let asking = async {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let answer = timeout(PATIENCE, asking).await.expect("in time");
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.expect("a status"), answer)
}

async fn started() -> (Dataplane, Replica, Session, SocketAddr) {
    let mut replica = Replica::start().await;
    let dataplane = Dataplane::start(config(replica.address)).unwrap();
    let session = replica.session().await;
    let admin = dataplane.admin_addr().expect("an admin address");
    (dataplane, replica, session, admin)
}

/// Waits until every shard's sockets on an address are closed.
async fn closed(address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).await.is_ok() {
        assert!(Instant::now() < deadline, "{address} still listens");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn it_is_ready_once_every_shard_serves_and_ends_when_connections_have() {
    let (dataplane, _replica, mut session, admin) = started().await;
    assert_eq!(ask(admin, "/healthz").await.0, 200);
    let (status, reason) = ask(admin, "/readyz").await;
    assert_eq!(status, 503);
    assert!(reason.contains("no snapshot"), "{reason}");

    let (snapshot, address) = snapshot("one").await;
    session.snapshot(&snapshot).await;
    assert_eq!(session.acked().await, "one");
    assert_eq!(ask(admin, "/readyz").await.0, 200);
    assert_eq!(ask(address, "/").await.0, 404, "there is no route");

    let (status, text) = ask(admin, "/metrics").await;
    assert_eq!(status, 200);
    assert!(text.contains("text/plain; version=0.0.4"), "{text}");
    assert!(
        text.contains("tidegate_control_snapshots_total{verdict=\"acked\"} 1"),
        "{text}"
    );
    let own = dataplane.metrics_text();
    assert!(own.contains("http_response_status_code=\"404\""), "{own}");

    // A connection that idles does not hold it up until the deadline.
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: edge\r\n\r\n")
        .await
        .unwrap();
    assert!(idle.read(&mut [0; 4096]).await.unwrap() > 0);
    let began = Instant::now();
    timeout(PATIENCE, dataplane.shutdown())
        .await
        .expect("in time");
    assert!(
        began.elapsed() < Duration::from_secs(9),
        "{:?}",
        began.elapsed()
    );
    closed(address).await;
    closed(admin).await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_a_refusal_and_no_end() {
    let (mut dataplane, _replica, mut session, admin) = started().await;
    let (mut snapshot, address) = snapshot("taken").await;
    // Without SO_REUSEPORT, so that nobody can join.
    let taken = TcpListener::bind(address).await.unwrap();
    session.snapshot(&snapshot).await;
    let nack = session.nacked().await;
    assert_eq!(nack.rejections[0].object, "default/edge/http", "{nack:?}");
    assert_eq!(ask(admin, "/readyz").await.0, 503);

    drop(taken);
    snapshot.version = "free".into();
    session.snapshot(&snapshot).await;
    assert_eq!(session.acked().await, "free");
    assert_eq!(ask(admin, "/readyz").await.0, 200);
    let whole = timeout(Duration::from_millis(100), dataplane.stopped()).await;
    assert!(whole.is_err(), "{whole:?}");
    dataplane.kill();
    closed(address).await;
}

#[tokio::test]
async fn killed_or_dropped_it_stops_listening() {
    for drops in [false, true] {
        let (dataplane, _replica, mut session, _) = started().await;
        let (snapshot, address) = snapshot("one").await;
        session.snapshot(&snapshot).await;
        session.acked().await;
        if drops {
            drop(dataplane)
        } else {
            dataplane.kill()
        }
        closed(address).await;
    }
}

#[tokio::test]
async fn an_admin_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let config = Config {
        admin_listen: Some(address),
        ..config(address)
    };
    let error = Dataplane::start(config).unwrap_err();
    assert!(
        format!("{error:#}").contains(&format!("admin-listen {address}")),
        "{error:#}"
    );
}

#[tokio::test]
async fn a_collector_that_is_away_delays_neither_the_start_nor_the_end_for_long() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let config = Config {
        otlp_endpoint: Some(format!("http://{nobody}")),
        control: Vec::new(),
        ..config(nobody)
    };
    let dataplane = Dataplane::start(config).unwrap();
    assert!(
        dataplane
            .metrics_text()
            .contains("tidegate_quic_connections 0")
    );
    timeout(PATIENCE, dataplane.shutdown())
        .await
        .expect("in time");
}
