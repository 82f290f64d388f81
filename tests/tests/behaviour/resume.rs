//! Sessions resume and Retry tokens count on every shard and after a restart, and only for
//! the address that they were made for.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use quinn::{Endpoint, crypto::rustls::QuicClientConfig};
use serde_json::Value;
use tidegate_tests::{Gateway, H3, Target, Upstream, eventually, within};
use tokio::{net::UdpSocket, time::timeout};

const TOKEN_LENGTH_AT: usize = 6;

/// Connects, fetches once, and returns the connection's facts.
async fn visit(gateway: &Gateway, target: &Target) -> Value {
    let client = H3::connect(target).await;
    assert_eq!(client.get("/").await.status, 200);
    let facts = gateway
        .admin()
        .connection_from(client.local_address())
        .await;
    client.connection.close(quinn::VarInt::from_u32(0x100), b"");
    client.endpoint.wait_idle().await;
    facts
}

fn shard_of(facts: &Value) -> String {
    let id = facts["id"].as_str().expect("a string");
    id.rsplit('.')
        .nth(2)
        .expect("an id has four parts")
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_resume_on_every_shard() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().shards(2).start(&upstream).await;
    let target = gateway.target();
    let first = visit(&gateway, &target).await;
    assert_eq!(first["tls"]["resumed"], false);
    let mut shards = BTreeSet::new();
    for _ in 0..24 {
        let facts = visit(&gateway, &target).await;
        assert_eq!(facts["tls"]["resumed"], true, "{facts}");
        assert_eq!(facts["tls"]["early_data"], false, "0-RTT is off: {facts}");
        shards.insert(shard_of(&facts));
    }
    assert_eq!(shards.len(), 2, "connections came to both shards");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_resume_after_a_restart_of_the_dataplane() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream).await;
    let target = gateway.target();
    visit(&gateway, &target).await;
    gateway.stop_dataplane().await;
    gateway.start_dataplane().await;
    let facts = visit(&gateway, &target).await;
    assert_eq!(facts["tls"]["resumed"], true, "{facts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_resume_after_a_restart_of_both_planes() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream).await;
    let target = gateway.target();
    visit(&gateway, &target).await;
    gateway.stop_dataplane().await;
    gateway.stop_control().await;
    gateway.start_control().await;
    gateway.start_dataplane().await;
    let facts = visit(&gateway, &target).await;
    assert_eq!(
        facts["tls"]["resumed"], true,
        "the keys outlive the control plane: {facts}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn early_data_is_neither_offered_nor_taken() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut tls = rustls::ClientConfig::clone(&*gateway.authority.client(&["h3"]));
    tls.enable_early_data = true;
    let target = Target {
        tls: Some(Arc::new(tls)),
        ..gateway.target()
    };
    visit(&gateway, &target).await;
    let crypto = QuicClientConfig::try_from(target.tls.clone().expect("it was just set"))
        .expect("it has TLS 1.3");
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback binds");
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint
        .connect_with(config, target.address, &target.server_name)
        .expect("the name is valid");
    let connecting = connecting
        .into_0rtt()
        .err()
        .expect("the ticket allows no early data");
    connecting.await.expect("it connects in the ordinary way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_retry_on_every_address_is_validated_first() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .shards(2)
        .tls_option("tidegate.dev/retry", "always")
        .start(&upstream)
        .await;
    let mut shards = BTreeSet::new();
    for _ in 0..24 {
        let facts = visit(&gateway, &gateway.target()).await;
        assert_eq!(facts["handshake"]["retry"], true, "{facts}");
        shards.insert(shard_of(&facts));
    }
    assert_eq!(shards.len(), 2, "connections came to both shards");
    assert!(
        gateway
            .dataplane_metrics()
            .await
            .sum("tidegate_quic_replies_total", &[("type", "retry")])
            >= Some(24.0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_retry_no_round_trip_is_spent() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .tls_option("tidegate.dev/retry", "never")
        .start(&upstream)
        .await;
    assert_eq!(
        visit(&gateway, &gateway.target()).await["handshake"]["retry"],
        false
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_tokens_outlive_a_restart_of_the_dataplane() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::builder()
        .tls_option("tidegate.dev/retry", "always")
        .start(&upstream)
        .await;
    let mut client = RetryClient::start(gateway.https).await;
    let second = client.second_initial().await;
    gateway.kill_dataplane();
    gateway.start_dataplane().await;
    client
        .socket
        .send_to(&second, gateway.https)
        .await
        .expect("loopback sends");
    assert!(
        client.is_answered().await,
        "the token of before the restart is good"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_counts_for_its_own_address_alone() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .tls_option("tidegate.dev/retry", "always")
        .start(&upstream)
        .await;
    let mut client = RetryClient::start(gateway.https).await;
    let second = client.second_initial().await;

    let thief = RetryClient::at(gateway.https, Ipv4Addr::new(127, 0, 0, 2)).await;
    thief
        .socket
        .send_to(&second, gateway.https)
        .await
        .expect("loopback sends");
    assert!(!thief.is_answered().await, "a stolen token opens nothing");
    assert!(gateway.admin().connections("").await.is_empty());

    client
        .socket
        .send_to(&second, gateway.https)
        .await
        .expect("loopback sends");
    assert!(client.is_answered().await, "its owner's does");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_token_opens_nothing() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .tls_option("tidegate.dev/retry", "always")
        .start(&upstream)
        .await;
    let mut client = RetryClient::start(gateway.https).await;
    let second = client.second_initial().await;
    let (begin, length) = token_of(&second);
    assert!(
        length > 16,
        "a token has room for more than an address: {length}"
    );
    // Beyond the key's number: a token of an unknown key is as good as none.
    let places: Vec<usize> = (begin + 4..begin + length).step_by(5).collect();
    for &at in &places {
        let mut forged = second.clone();
        forged[at] ^= 0x01;
        client
            .socket
            .send_to(&forged, gateway.https)
            .await
            .expect("loopback sends");
    }
    eventually("forged tokens are counted", || async {
        let samples = gateway.dataplane_metrics().await;
        let tokens: f64 = samples
            .by("tidegate_quic_datagrams_dropped_total", "reason")
            .into_iter()
            .filter(|(reason, _)| reason.contains("token"))
            .map(|(_, count)| count)
            .sum();
        (tokens >= places.len() as f64).then_some(())
    })
    .await;
    assert!(
        gateway.admin().connections("").await.is_empty(),
        "no connection began"
    );
}

/// Offset and length of the token in an Initial.
fn token_of(initial: &[u8]) -> (usize, usize) {
    let mut at = TOKEN_LENGTH_AT + usize::from(initial[5]);
    at += 1 + usize::from(initial[at]);
    match initial[at] >> 6 {
        0 => (at + 1, usize::from(initial[at] & 0x3f)),
        1 => (
            at + 2,
            usize::from(u16::from_be_bytes([initial[at] & 0x3f, initial[at + 1]])),
        ),
        _ => panic!("a token is not so long"),
    }
}

/// A QUIC client whose datagrams the test holds in its hands.
pub(crate) struct RetryClient {
    socket: UdpSocket,
    server: SocketAddr,
    connection: quiche::Connection,
}

impl RetryClient {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        Self::at(server, Ipv4Addr::LOCALHOST).await
    }

    pub(crate) async fn at(server: SocketAddr, address: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind((address, 0)).await.expect("loopback binds");
        let local = socket.local_addr().expect("it is bound");
        let mut config =
            quiche::Config::new(quiche::PROTOCOL_VERSION).expect("the version is known");
        config.set_application_protos(&[b"h3"]).expect("one name");
        config.verify_peer(false);
        config.set_initial_max_data(100_000);
        config.set_initial_max_streams_uni(3);
        let scid = quiche::ConnectionId::from_ref(&[7; 8]);
        let connection = quiche::connect(Some("site.test"), &scid, local, server, &mut config)
            .expect("it is sound");
        Self {
            socket,
            server,
            connection,
        }
    }

    pub(crate) async fn send(&self, datagram: &[u8]) {
        let sent = self.socket.send_to(datagram, self.server).await;
        sent.expect("loopback sends");
    }

    /// Sends the first Initial, takes the Retry, and returns the Initial that carries its
    /// token, unsent.
    pub(crate) async fn second_initial(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 1500];
        let (length, _) = self
            .connection
            .send(&mut buffer)
            .expect("a client speaks first");
        self.socket
            .send_to(&buffer[..length], self.server)
            .await
            .expect("loopback sends");
        // A ClientHello with a post-quantum share takes two datagrams.
        while let Ok((length, _)) = self.connection.send(&mut buffer) {
            self.socket
                .send_to(&buffer[..length], self.server)
                .await
                .expect("loopback sends");
        }
        let (length, from) = within("a Retry comes", self.socket.recv_from(&mut buffer))
            .await
            .expect("loopback receives");
        let header = quiche::Header::from_slice(&mut buffer[..length], 8).expect("it parses");
        assert_eq!(header.ty, quiche::Type::Retry);
        let to = self.socket.local_addr().expect("it is bound");
        self.connection
            .recv(&mut buffer[..length], quiche::RecvInfo { from, to })
            .expect("the Retry is sound");
        let (length, _) = self.connection.send(&mut buffer).expect("it tries again");
        buffer.truncate(length);
        buffer
    }

    /// Its ClientHello takes several datagrams, each of which gets an answer.
    pub(crate) async fn forget_received(&self) {
        let (mut buffer, pause) = (vec![0; 1500], Duration::from_millis(200));
        while timeout(pause, self.socket.recv_from(&mut buffer))
            .await
            .is_ok()
        {}
    }

    /// What the next packet is.
    pub(crate) async fn received(&self) -> quiche::Type {
        let mut buffer = vec![0; 1500];
        let (length, _) = within("an answer comes", self.socket.recv_from(&mut buffer))
            .await
            .expect("loopback receives");
        let header = quiche::Header::from_slice(&mut buffer[..length], 8).expect("it parses");
        header.ty
    }

    /// Whether the server takes part in the handshake. Another Retry, which a client that
    /// had one does not take, does not count.
    pub(crate) async fn is_answered(&self) -> bool {
        let mut buffer = vec![0; 1500];
        let patience = Duration::from_secs(2);
        loop {
            let Ok(received) = timeout(patience, self.socket.recv_from(&mut buffer)).await else {
                return false;
            };
            let (length, _) = received.expect("loopback receives");
            let header = quiche::Header::from_slice(&mut buffer[..length], 8).expect("it parses");
            // RFC 9000 8.1.3 allows a close of code INVALID_TOKEN in an Initial, which is short.
            if header.ty == quiche::Type::Handshake
                || (header.ty == quiche::Type::Initial && length >= 1200)
            {
                return true;
            }
        }
    }
}
