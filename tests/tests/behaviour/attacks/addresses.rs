//! Rows 1, 2 and 9: what is done for an address that nobody has proved.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use tidegate_dataplane::quic::token::RETRY_LIFETIME;
use tidegate_tests::{
    Forge, Gateway, H3, Kind, Samples, Upstream, eventually, heavy,
    raw::{Bytes, Level, RawClient, Replay, Twist},
    within,
};
use tokio::net::UdpSocket;

use super::{Pace, accepted, arrives, dropped, get, network, socket, stream};
use crate::{hostile::Source, resume::RetryClient};

const PING: u8 = 0x01;
/// A token begins with the number of its key.
const KEY_NUMBER: usize = 4;
/// With a ClientHello beside it, it still fits into a datagram of an ordinary path.
const LONGEST_TOKEN: usize = 1_100;

/// Row 1: first flights with a post-quantum share, whose two datagrams are followed or preceded
/// by junk in theirs, from 20 addresses that never answer. What comes back is counted at each
/// of them until the handshakes are given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_01_bent_first_flights_are_not_amplified() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .shards(1)
        .tls_option("tidegate.dev/retry", "never")
        .start(&upstream)
        .await;
    let mut forge = Forge::new(1);
    let mut sources = Vec::new();
    for turn in 0..20 {
        let mut source = Source::new().await;
        let mut flight = forge.whole_first_flight();
        assert_eq!(flight.len(), 2, "it is post-quantum");
        match turn % 4 {
            0 => {}
            1 => flight.truncate(1),
            2 => flight.reverse(),
            _ => {
                let junk = forge.make(Kind::Handshake);
                flight[1].extend_from_slice(&junk[..50]);
            }
        }
        for datagram in &flight {
            source.send(datagram, gateway.https).await;
        }
        sources.push(source);
    }
    eventually("the server gives the handshakes up", || {
        sources.iter_mut().for_each(Source::collect);
        let samples = gateway.dataplane_samples();
        let failed = samples.sum("tidegate_quic_handshakes_failed_total", &[]);
        async move { (failed >= Some(20.0)).then_some(()) }
    })
    .await;
    sources.iter_mut().for_each(Source::collect);
    assert!(
        sources.iter().any(Source::was_answered),
        "they were true first flights"
    );
}

/// Row 2: a token that one dataplane made is good at another one of the same Gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_02_retry_tokens_of_one_dataplane_count_at_another() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::builder()
        .tls_option("tidegate.dev/retry", "always")
        .start(&upstream)
        .await;
    let mut client = RetryClient::start(gateway.https).await;
    let second = client.second_initial().await;
    let other = gateway.another_dataplane("other").await;
    gateway.kill_dataplane();
    client.send(&second).await;
    assert!(client.is_answered().await);
    let metrics = other.metrics_text();
    let accepted = metrics
        .lines()
        .find(|line| line.starts_with("tidegate_quic_initials_accepted_total"));
    assert!(
        accepted.is_some_and(|line| line.ends_with(" 1")),
        "{accepted:?}"
    );
}

/// Row 2: tokens that are changed, cut, lengthened, made up, borrowed or too old, each in an
/// Initial that would begin a handshake if its token counted. What names a key that there is
/// and was not made with it is dropped; what is no token at all is asked for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_02_no_token_but_the_one_that_was_given_opens_anything() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .shards(1)
        .tls_option("tidegate.dev/retry", "always")
        .start(&upstream)
        .await;
    let replay = Replay::new(&gateway.target());
    let given = Given::to(Ipv4Addr::LOCALHOST, &replay, &gateway).await;
    let given_at = Instant::now();
    let other_port = socket(Ipv4Addr::LOCALHOST).await;
    let other_address = socket(Ipv4Addr::new(127, 0, 0, 3)).await;
    let (mut pace, mut invalid) = (Pace::begin(&gateway).await, 0);
    for forged in forgeries(&given.token) {
        given.send(&replay, &given.id, &forged).await;
        pace.sent(&gateway).await;
        invalid += usize::from(names_its_key(&forged, &given.token));
    }
    assert!(invalid > given.token.len(), "{invalid} were forged");
    // Up to the datagram's end, and one byte beyond it.
    for (token, claimed) in [(1_179, 1_179), (1_179, 1_180)] {
        let datagram = [
            &[0xc3, 0, 0, 0, 1, 8],
            &given.id[..],
            &[4, 1, 2, 3, 4],
            &Bytes::new().numbers(&[claimed]).done(),
            &vec![0xa5; token],
        ]
        .concat();
        assert_eq!(datagram.len(), 1_200, "an Initial has no less");
        let done = given.socket.send_to(&datagram, gateway.https).await;
        done.expect("loopback sends");
        pace.sent(&gateway).await;
    }
    // For another connection ID, from another port, from another address.
    given.send(&replay, &[9; 8], &given.token).await;
    pace.sent(&gateway).await;
    let borrowed = replay.flight_with_token(&given.id, &given.token);
    for thief in [&other_port, &other_address] {
        let done = thief.send_to(&borrowed[0], gateway.https).await;
        done.expect("loopback sends");
        pace.sent(&gateway).await;
    }
    // And when its time is over.
    tokio::time::sleep_until((given_at + RETRY_LIFETIME + Duration::from_secs(1)).into()).await;
    given.send(&replay, &given.id, &given.token).await;
    pace.sent(&gateway).await;
    invalid += 4;

    let after = pace.taken(&gateway).await;
    let more = |count: fn(&Samples) -> f64| count(&after) - count(&pace.before);
    assert_eq!(more(accepted), 0.0, "no handshake began");
    assert_eq!(
        more(|samples| dropped(samples, "invalid_token")),
        invalid as f64
    );
    assert_eq!(more(|samples| dropped(samples, "malformed")), 1.0);
    let asked = more(|samples| {
        let retries = samples.sum("tidegate_quic_replies_total", &[("type", "retry")]);
        retries.expect("they are counted") + dropped(samples, "rate_limited")
    });
    assert_eq!(asked, (pace.sent - invalid - 1) as f64);
    assert!(gateway.admin().connections("").await.is_empty());
    given.was_only_asked();

    let honest = Given::to(Ipv4Addr::LOCALHOST, &replay, &gateway).await;
    honest.send(&replay, &honest.id, &honest.token).await;
    eventually("an honest token still counts", || async {
        let begun = accepted(&gateway.dataplane_metrics().await) - accepted(&after);
        (begun == 1.0).then_some(())
    })
    .await;
}

/// What [`row_02_no_token_but_the_one_that_was_given_opens_anything`] tries in place of a token.
fn forgeries(token: &[u8]) -> Vec<Vec<u8>> {
    let changed = (0..token.len()).map(|at| {
        let mut forged = token.to_vec();
        forged[at] ^= 0x80;
        forged
    });
    let cut = (0..token.len()).map(|length| token[..length].to_vec());
    let key = &token[..KEY_NUMBER];
    // Behind the key's number, behind nothing, and behind the whole token.
    let noise = [key, &[], token].map(|begin| {
        (begin.len() + 1..LONGEST_TOKEN).map(|length| {
            let mut forged = begin.to_vec();
            forged.resize(length, 0xa5);
            forged
        })
    });
    changed
        .chain(cut)
        .chain(noise.into_iter().flatten())
        .collect()
}

/// Whether it has the form of a token, and the number of the key that `token` was made with:
/// `key (4) | time (8) | a connection ID of up to 20 bytes | code (32)`.
fn names_its_key(forged: &[u8], token: &[u8]) -> bool {
    let shortest = KEY_NUMBER + 8 + 32;
    (shortest..=shortest + 20).contains(&forged.len())
        && forged[..KEY_NUMBER] == token[..KEY_NUMBER]
}

/// A Retry, and the socket that it was sent to.
struct Given {
    socket: UdpSocket,
    server: SocketAddr,
    /// That the server chose.
    id: Vec<u8>,
    token: Vec<u8>,
}

impl Given {
    async fn to(address: Ipv4Addr, replay: &Replay, gateway: &Gateway) -> Self {
        let (socket, server) = (socket(address).await, gateway.https);
        let flight = replay.flight();
        assert_eq!(flight.len(), 1, "it has room for a token");
        let sent = socket.send_to(&flight[0], server).await;
        sent.expect("loopback sends");
        let mut buffer = vec![0; 2_000];
        let received = within("a Retry", socket.recv_from(&mut buffer)).await;
        let (length, _) = received.expect("loopback receives");
        let header = quiche::Header::from_slice(&mut buffer[..length], 8).expect("it parses");
        assert_eq!(header.ty, quiche::Type::Retry);
        Self {
            socket,
            server,
            id: header.scid.to_vec(),
            token: header.token.expect("a Retry has one"),
        }
    }

    /// Sends a first flight to a connection ID with a token.
    async fn send(&self, replay: &Replay, id: &[u8], token: &[u8]) {
        for datagram in replay.flight_with_token(id, token) {
            let sent = self.socket.send_to(&datagram, self.server).await;
            sent.expect("loopback sends");
        }
    }

    /// Nothing but Retries came, as far as they were not lost.
    fn was_only_asked(&self) {
        let mut buffer = vec![0; 2_000];
        while let Ok((length, _)) = self.socket.try_recv_from(&mut buffer) {
            let header = quiche::Header::from_slice(&mut buffer[..length], 8);
            assert_eq!(header.expect("it parses").ty, quiche::Type::Retry);
        }
    }
}

/// Row 9: a request in a packet from an address that was not validated. Somebody who can see
/// packets, and send from anywhere, must not speak for an address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_09_a_request_counts_for_the_last_address_that_was_validated() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().shards(1).start(&upstream).await;
    let target = gateway.target();
    let tls = target.tls.clone().expect("it has TLS");
    let mut client = RawClient::begin(&target, tls, Twist::default()).await;
    assert!(client.handshake(Duration::from_secs(10)).await);
    let thief = socket(network(3, 3)).await;
    let request = stream(0, 0, &get(&target, "/spoofed"), true);
    client.fire_from(&thief, Level::OneRtt, request).await;
    let seen = arrives(&mut client, &upstream, "/spoofed").await;
    assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1", "{seen:?}");
    let mut buffer = vec![0; 65_536];
    let mut came = 0;
    while let Ok((length, _)) = thief.try_recv_from(&mut buffer) {
        came += length;
    }
    assert!(came <= 3 * 1200, "{came} bytes went to the new address");
}

/// A network that may not come in. Those whom [`network`] names may.
const DENIED: [&str; 2] = ["tidegate.dev/deny", "127.77.0.0/16"];

fn denied(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 77, 0, host)
}

async fn guarded(upstream: &Upstream) -> Gateway {
    let builder = Gateway::builder().shards(1);
    builder
        .tls_option(DENIED[0], DENIED[1])
        .start(upstream)
        .await
}

/// Row 9: who moves to where nobody may come from is refused there, and served again when it
/// comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_09_a_client_that_moves_into_a_denied_network_is_refused() {
    let upstream = Upstream::start().await;
    let gateway = guarded(&upstream).await;
    let client = H3::connect_alive(&gateway.target(), Duration::from_millis(100)).await;
    assert_eq!(client.get("/at-home").await.status, 200);
    let id = gateway.admin().id_from(client.local_address()).await;
    for (address, status, path) in [
        (denied(1), 403, "/denied"),
        (Ipv4Addr::LOCALHOST, 200, "/back"),
    ] {
        let socket = std::net::UdpSocket::bind((address, 0)).expect("loopback binds");
        let rebound = client.endpoint.rebind(socket);
        rebound.expect("the runtime takes it");
        validated(&gateway, &id, client.local_address()).await;
        assert_eq!(client.get(path).await.status, status, "from {address}");
    }
    assert!(upstream.seen_at("/denied").is_empty());
    assert_eq!(upstream.seen_at("/back").len(), 1);
}

/// Waits until this is the client's address.
async fn validated(gateway: &Gateway, id: &str, address: SocketAddr) {
    eventually("the client's address is validated", || async {
        let peer = gateway.admin().connection(id).await["peer_address"].take();
        (peer == address.to_string()).then_some(())
    })
    .await;
}

/// Row 9: a packet that somebody sends in a client's name, from where nobody may come from,
/// takes nothing from the client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_09_a_packet_from_a_denied_network_refuses_nobody() {
    let upstream = Upstream::start().await;
    let gateway = guarded(&upstream).await;
    let target = gateway.target();
    let tls = target.tls.clone().expect("it has TLS");
    let mut client = RawClient::begin(&target, tls, Twist::default()).await;
    assert!(client.handshake(Duration::from_secs(10)).await);
    let thief = socket(denied(2)).await;
    let request = stream(0, 0, &get(&target, "/spoofed"), true);
    client.fire_from(&thief, Level::OneRtt, request).await;
    arrives(&mut client, &upstream, "/spoofed").await;
    let request = stream(4, 0, &get(&target, "/honest"), true);
    client.send(Level::OneRtt, request).await;
    assert_eq!(answer(&mut client, 4).await, 200);
    assert_eq!(answer(&mut client, 0).await, 200);
}

/// Row 9: a packet that seems to come from where everybody may come from opens nothing to
/// those who may not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_09_a_packet_from_an_allowed_network_admits_nobody() {
    let upstream = Upstream::start().await;
    let gateway = guarded(&upstream).await;
    let target = gateway.target();
    let tls = target.tls.clone().expect("it has TLS");
    let home = network(3, 1);
    let mut client = RawClient::begin_from(home, &target, tls, Twist::default()).await;
    assert!(client.handshake(Duration::from_secs(10)).await);
    let connections = gateway.admin().connections("").await;
    let id = connections[0]["id"].as_str().expect("a string").to_owned();
    let elsewhere = socket(denied(3)).await;
    let address = elsewhere.local_addr().expect("it is bound");
    client.move_to(elsewhere).await;
    client.send(Level::OneRtt, vec![PING]).await;
    tokio::select! {
        () = validated(&gateway, &id, address) => {}
        () = client.stay(Duration::from_secs(60)) => panic!("its address was never validated"),
    }
    let request = stream(0, 0, &get(&target, "/denied"), true);
    client.send(Level::OneRtt, request).await;
    assert_eq!(answer(&mut client, 0).await, 403);

    let pretended = socket(network(3, 9)).await;
    let request = stream(4, 0, &get(&target, "/spoofed"), true);
    client.fire_from(&pretended, Level::OneRtt, request).await;
    // The answer goes where the request came from, until there is more from here.
    client.stay(Duration::from_millis(200)).await;
    client.send(Level::OneRtt, vec![PING]).await;
    assert_eq!(answer(&mut client, 4).await, 403);
    let request = stream(8, 0, &get(&target, "/denied"), true);
    client.send(Level::OneRtt, request).await;
    assert_eq!(answer(&mut client, 8).await, 403);
    assert!(upstream.seen().is_empty());
}

/// The status on a stream, when it has come.
async fn answer(client: &mut RawClient, stream: u64) -> u16 {
    for _ in 0..1_000 {
        if let Some(status) = client.status(stream) {
            return status;
        }
        client.stay(Duration::from_millis(20)).await;
    }
    panic!("stream {stream} was never answered")
}
