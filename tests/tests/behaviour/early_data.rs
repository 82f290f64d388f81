//! 0-RTT where a policy asks for it: safe requests are served before the handshake is
//! complete, others wait, and a flight that is sent again is not served again.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use quinn::{Endpoint, ZeroRttAccepted, crypto::rustls::QuicClientConfig};
use serde_json::json;
use tidegate_tests::{Folder, Gateway, H3, Samples, Target, Upstream, eventually, within};
use tokio::{net::UdpSocket, sync::watch, task::JoinHandle};

/// A route of everything to the upstream, and a policy with early data.
fn fill(folder: &Folder, upstream: &Upstream, policy: &serde_json::Value) {
    folder.service("app", &[upstream.address]);
    let rules = json!([{"backendRefs": [{"name": "app", "port": 80}]}]);
    folder.route("app", &[], &rules);
    let mut spec = policy.clone();
    spec["earlyData"] = true.into();
    folder.quic_policy(&spec);
}

async fn start(upstream: &Upstream) -> Gateway {
    start_with(upstream, Gateway::builder().shards(2), json!({})).await
}

async fn start_with(
    upstream: &Upstream,
    builder: tidegate_tests::Builder,
    policy: serde_json::Value,
) -> Gateway {
    builder
        .start_with(|folder| fill(folder, upstream, &policy))
        .await
}

/// A client that would send early data, and has a ticket.
async fn known_client(gateway: &Gateway) -> Target {
    let mut tls = rustls::ClientConfig::clone(&*gateway.authority.client(&["h3"]));
    tls.enable_early_data = true;
    let target = Target {
        tls: Some(Arc::new(tls)),
        ..gateway.target()
    };
    let client = H3::connect(&target).await;
    // The answer comes after the tickets.
    assert_eq!(client.get("/ticket").await.status, 200);
    client.connection.close(quinn::VarInt::from_u32(0x100), b"");
    client.endpoint.wait_idle().await;
    target
}

/// Begins a connection with early data, if the client has a ticket for that.
fn begin(target: &Target) -> Option<(Endpoint, quinn::Connection, ZeroRttAccepted)> {
    let tls = target.tls.clone().expect("it has TLS");
    let crypto = QuicClientConfig::try_from(tls).expect("it has TLS 1.3");
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback binds");
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint
        .connect_with(config, target.address, &target.server_name)
        .expect("the name is valid");
    let (connection, accepted) = connecting.into_0rtt().ok()?;
    Some((endpoint, connection, accepted))
}

async fn begin_h3(target: &Target) -> (H3, ZeroRttAccepted) {
    let (endpoint, connection, accepted) = begin(target).expect("the ticket allows early data");
    let client = H3::over(endpoint, connection, target).await;
    (client.expect("nothing is refused yet"), accepted)
}

/// Passes on what a client sends, and remembers it. What the gateway sends is held back until
/// the test lets it through: so long no handshake is complete.
struct Gate {
    address: SocketAddr,
    /// As whom the gateway knows the client.
    source: SocketAddr,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
    open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Gate {
    async fn before(gateway: SocketAddr) -> Self {
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let (front, back) = (bind().await, bind().await);
        let (front, back) = (
            front.expect("loopback binds"),
            back.expect("loopback binds"),
        );
        let address = front.local_addr().expect("it is bound");
        let source = back.local_addr().expect("it is bound");
        let sent = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let (open, mut opened) = watch::channel(false);
        let seen = sent.clone();
        let task = tokio::spawn(async move {
            let (mut client, mut held) = (None, Vec::new());
            let (mut up, mut down) = (vec![0; 2000], vec![0; 2000]);
            loop {
                tokio::select! {
                    received = front.recv_from(&mut up) => {
                        let (length, from) = received.expect("loopback receives");
                        client = Some(from);
                        seen.lock().expect("no panic holds it").push(up[..length].to_vec());
                        back.send_to(&up[..length], gateway).await.expect("loopback sends");
                    }
                    received = back.recv(&mut down) => {
                        let length = received.expect("loopback receives");
                        held.push(down[..length].to_vec());
                    }
                    changed = opened.changed() => changed.expect("the gate is there"),
                }
                if *opened.borrow()
                    && let Some(client) = client
                {
                    for datagram in held.drain(..) {
                        front
                            .send_to(&datagram, client)
                            .await
                            .expect("loopback sends");
                    }
                }
            }
        });
        Self {
            address,
            source,
            sent,
            open,
            task,
        }
    }

    fn open(&self) {
        self.open.send_replace(true);
    }

    fn sent(&self) -> Vec<Vec<u8>> {
        self.sent.lock().expect("no panic holds it").clone()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn arrives(upstream: &Upstream, path: &str) {
    eventually("the request reaches the upstream", || async {
        (!upstream.seen_at(path).is_empty()).then_some(())
    })
    .await;
}

async fn counted(gateway: &Gateway, outcome: &str, least: f64) {
    eventually("the outcome is counted", || async {
        let samples = gateway.dataplane_metrics().await;
        let count = samples.sum("tidegate_quic_early_data_total", &[("outcome", outcome)]);
        (count >= Some(least)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_safe_request_is_served_before_the_handshake_is_complete() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream).await;
    let target = known_client(&gateway).await;
    let gate = Gate::before(gateway.https).await;
    let (client, accepted) = begin_h3(&target.at(gate.address)).await;
    let answer = tokio::spawn(async move { (client.get("/early").await, client) });
    arrives(&upstream, "/early").await;
    gate.open();
    let (answer, client) = within("the answer", answer).await.expect("no panic");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.upstream_header("early-data"), ["1"]);
    assert!(accepted.await);
    let later = client.get("/later").await;
    assert!(later.upstream_header("early-data").is_empty(), "{later:?}");
    let facts = gateway.admin().connection_from(gate.source).await;
    assert_eq!(facts["tls"]["early_data"], true, "{facts}");
    assert_eq!(facts["tls"]["resumed"], true, "{facts}");
    assert_eq!(facts["stage"], "running", "{facts}");
    counted(&gateway, "accepted", 1.0).await;
    assert_eq!(upstream.seen_at("/early").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_requests_wait_until_the_handshake_is_complete() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream).await;
    let target = known_client(&gateway).await;
    let gate = Gate::before(gateway.https).await;
    let (client, accepted) = begin_h3(&target.at(gate.address)).await;
    let client = Arc::new(client);
    let (poster, deleter) = (client.clone(), client.clone());
    let post = tokio::spawn(async move {
        let request = poster.request("POST", "/post");
        poster.send(request, "content".into()).await
    });
    let delete = tokio::spawn(async move {
        let request = deleter.request("DELETE", "/delete");
        deleter.send(request, "".into()).await
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let get = tokio::spawn(async move { client.get("/get").await });
    arrives(&upstream, "/get").await;
    for path in ["/post", "/delete"] {
        assert!(upstream.seen_at(path).is_empty(), "{path} was not held");
    }
    gate.open();
    assert_eq!(within("GET", get).await.expect("no panic").status, 200);
    for waited in [post, delete] {
        let answer = within("a request that waited", waited).await;
        let answer = answer.expect("no panic").expect("it is answered");
        assert_eq!(answer.status, 200);
        assert!(answer.upstream_header("early-data").is_empty());
    }
    assert!(accepted.await);
    let post = &upstream.seen_at("/post")[0];
    assert_eq!(post.body.as_ref().map(|body| body.length), Some(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flight_that_is_sent_again_is_not_served_again() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream).await;
    let target = known_client(&gateway).await;
    let gate = Gate::before(gateway.https).await;
    let (client, _accepted) = begin_h3(&target.at(gate.address)).await;
    let answer = tokio::spawn(async move { (client.get("/once").await, client) });
    arrives(&upstream, "/once").await;
    let flight = gate.sent();
    gate.open();
    let (answer, client) = within("the answer", answer).await.expect("no panic");
    assert_eq!(answer.status, 200);
    client.connection.close(quinn::VarInt::from_u32(0x100), b"");
    client.endpoint.wait_idle().await;
    // From several addresses, so that both shards are tried.
    let mut thieves = Vec::new();
    for _ in 0..8 {
        let thief = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let thief = thief.expect("loopback binds");
        for datagram in &flight {
            let sent = thief.send_to(datagram, gateway.https).await;
            sent.expect("loopback sends");
        }
        thieves.push(thief);
    }
    counted(&gateway, "replayed", 1.0).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(upstream.seen_at("/once").len(), 1);
    counted(&gateway, "accepted", 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_instance_takes_no_early_data_of_this_one() {
    let upstream = Upstream::start().await;
    let mut gateway = start(&upstream).await;
    let target = known_client(&gateway).await;
    gateway.stop_dataplane().await;
    gateway.start_dataplane().await;
    let (endpoint, connection, accepted) = begin(&target).expect("the ticket allows early data");
    assert!(!accepted.await, "it is of another instance");
    let client = H3::over(endpoint, connection, &target).await;
    let client = client.expect("the handshake went on without");
    let answer = client.get("/after").await;
    assert_eq!(answer.status, 200);
    assert!(answer.upstream_header("early-data").is_empty());
    let facts = gateway
        .admin()
        .connection_from(client.local_address())
        .await;
    assert_eq!(facts["tls"]["resumed"], true, "{facts}");
    assert_eq!(facts["tls"]["early_data"], false, "{facts}");
    counted(&gateway, "other_ticket", 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flight_that_is_sent_again_to_another_instance_is_not_served() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream).await;
    let target = known_client(&gateway).await;
    let gate = Gate::before(gateway.https).await;
    let (client, _accepted) = begin_h3(&target.at(gate.address)).await;
    let answer = tokio::spawn(async move { (client.get("/once").await, client) });
    arrives(&upstream, "/once").await;
    let flight = gate.sent();
    gate.open();
    let (answer, _client) = within("the answer", answer).await.expect("no panic");
    assert_eq!(answer.status, 200);
    // It has the same keys, and the same ports: the kernel gives it some of the addresses.
    let second = gateway.another_dataplane("other").await;
    eventually("the other instance gets a copy", || async {
        let thief = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let thief = thief.expect("loopback binds");
        for datagram in &flight {
            let sent = thief.send_to(datagram, gateway.https).await;
            sent.expect("loopback sends");
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let samples = Samples::parse(&second.metrics_text());
        let accepted = [("outcome", "accepted")];
        assert_eq!(
            samples.sum("tidegate_quic_early_data_total", &accepted),
            Some(0.0)
        );
        let begun = samples.sum("tidegate_quic_initials_accepted_total", &[]);
        (begun > Some(0.0)).then_some(())
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(upstream.seen_at("/once").len(), 1);
    counted(&gateway, "accepted", 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_finds_it_too_early_is_heard() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream).await;
    let target = known_client(&gateway).await;
    let gate = Gate::before(gateway.https).await;
    let (client, _accepted) = begin_h3(&target.at(gate.address)).await;
    let answer = tokio::spawn(async move { client.get("/status/425").await });
    arrives(&upstream, "/status/425").await;
    gate.open();
    let answer = within("the answer", answer).await.expect("no panic");
    assert_eq!(answer.status, 425);
    assert_eq!(upstream.seen_at("/status/425").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_stays_incomplete_ends_in_time() {
    let upstream = Upstream::start().await;
    let policy = json!({"transport": {"handshakeTimeout": "1s"}});
    let gateway = start_with(&upstream, Gateway::builder(), policy).await;
    let target = known_client(&gateway).await;
    let gate = Gate::before(gateway.https).await;
    let (client, _accepted) = begin_h3(&target.at(gate.address)).await;
    let answer = tokio::spawn(async move { client.get("/never").await });
    arrives(&upstream, "/never").await;
    eventually("the time-out is counted", || async {
        let samples = gateway.dataplane_metrics().await;
        let labels = [("error_type", "timeout")];
        let failed = samples.sum("tidegate_quic_handshakes_failed_total", &labels);
        (failed == Some(1.0)).then_some(())
    })
    .await;
    answer.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_addresses_decide_there_is_no_early_data() {
    let upstream = Upstream::start().await;
    let builder = Gateway::builder().tls_option("tidegate.dev/deny", "192.0.2.0/24");
    let gateway = start_with(&upstream, builder, json!({})).await;
    let target = known_client(&gateway).await;
    assert!(begin(&target).is_none(), "the ticket allows none");
}
