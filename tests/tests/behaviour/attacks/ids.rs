//! Rows 7, 8, 11 and 12: connection IDs, paths and resets.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use tidegate_tests::{
    Gateway, Target, Upstream, eventually, heavy,
    raw::{Bytes, Level, RawClient, Replay, Twist},
};

use super::{Pace, SLACK, apart, arrives, bytes, get, network, received, socket, stream, taken};

/// RFC 9000 20.1.
const CONNECTION_ID_LIMIT_ERROR: u64 = 0x09;
const PING: u8 = 0x01;
const NEW_CONNECTION_ID: u64 = 0x18;
const PATH_CHALLENGE: u64 = 0x1a;

async fn established(target: &Target) -> RawClient {
    let tls = target.tls.clone().expect("it has TLS");
    let mut client = RawClient::begin(target, tls, Twist::default()).await;
    assert!(client.handshake(Duration::from_secs(10)).await);
    client
}

/// A client of a gateway of its own, and what that one had when it began.
struct Scene {
    upstream: Upstream,
    gateway: Gateway,
    target: Target,
    client: RawClient,
    memory: u64,
    cpu: Duration,
    pace: Pace,
}

impl Scene {
    async fn begin() -> Self {
        let upstream = Upstream::start().await;
        let mut gateway = apart().start(&upstream).await;
        let target = gateway.target();
        let client = established(&target).await;
        let memory = gateway.dataplane_process().memory();
        let cpu = gateway.dataplane_process().cpu();
        let pace = Pace::begin(&gateway).await;
        Self {
            upstream,
            gateway,
            target,
            client,
            memory,
            cpu,
            pace,
        }
    }

    async fn fire(&mut self, frames: Vec<u8>) {
        self.client.fire(Level::OneRtt, frames).await;
        self.pace.sent(&self.gateway).await;
    }

    /// Time of the processor that the gateway took.
    fn spent(&mut self) -> Duration {
        self.gateway.dataplane_process().cpu() - self.cpu
    }

    /// The gateway has neither grown nor taken more time than this.
    fn cost(&mut self, most: Duration) {
        let memory = self.gateway.dataplane_process().memory();
        let grown = memory.saturating_sub(self.memory);
        assert!(grown <= SLACK, "{grown} bytes");
        let spent = self.spent();
        assert!(spent < most, "it took {spent:?}");
    }

    /// The client was not closed, and goes on.
    async fn goes_on(&mut self) {
        let close = self.client.closed(Duration::from_millis(200)).await;
        assert_eq!(close, None, "it keeps to the rules");
        let request = stream(0, 0, &get(&self.target, "/after"), true);
        self.client.send(Level::OneRtt, request).await;
        arrives(&mut self.client, &self.upstream, "/after").await;
    }
}

/// Row 7, at a tenth: 100,000 connection IDs, each of which retires the one before. All are
/// taken from a client that acknowledges, and the last ones cost what the first ones did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_07_a_flood_of_connection_ids_costs_the_same_at_its_end() {
    const ROUNDS: u64 = 10;
    let _alone = heavy().await;
    let mut scene = Scene::begin().await;
    let mut cpu = Vec::new();
    let mut sequence = 1;
    for round in 1..=ROUNDS {
        let begin = scene.spent();
        while sequence < round * IDS / ROUNDS {
            scene.fire(more_ids(&mut sequence)).await;
            // Of several packets there would be more to be retired at once than it remembers.
            scene.client.hear(Duration::from_secs(1)).await;
        }
        cpu.push(scene.spent() - begin);
    }
    scene.pace.taken(&scene.gateway).await;
    scene.cost(Duration::from_secs(10));
    let [early, late] = [&cpu[..3], &cpu[7..]].map(|rounds| rounds.iter().sum::<Duration>());
    // In the tenths of a second that are noise.
    let most = 2 * early + Duration::from_millis(100);
    assert!(late <= most, "{cpu:?}");
    scene.goes_on().await;
}

/// Row 7: of a server whose RETIRE_CONNECTION_ID frames are never acknowledged, more than it
/// may send in all. It remembers so many that are to be retired, and then closes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_07_connection_ids_that_cannot_be_retired_close_the_connection() {
    let _alone = heavy().await;
    let mut scene = Scene::begin().await;
    let (mut sequence, mut close) = (1, None);
    while sequence < IDS && close.is_none() {
        scene.fire(more_ids(&mut sequence)).await;
        let patience = Duration::from_millis(1);
        close = scene.client.closed_silently(patience).await;
    }
    let code = close.map(|close| close.code);
    assert_eq!(code, Some(CONNECTION_ID_LIMIT_ERROR), "after {sequence}");
    scene.cost(Duration::from_secs(10));
    assert_eq!(scene.gateway.h3().await.get("/").await.status, 200);
}

const IDS: u64 = 100_000;

/// Frames of a packet with the next connection IDs, each of which retires those before.
fn more_ids(sequence: &mut u64) -> Vec<u8> {
    let first = *sequence;
    *sequence += 30;
    let frames = (first..*sequence).fold(Bytes::new(), |frames, number| {
        let id = number.to_be_bytes();
        frames
            .numbers(&[NEW_CONNECTION_ID, number, number])
            .bytes(&[8])
            .bytes(&id)
            .bytes(&[id, id].concat())
    });
    frames.done()
}

/// Row 8, at a tenth: 100,000 challenges from a client that acknowledges. Of a hundred in a
/// packet three are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_08_a_flood_of_path_challenges_is_not_answered_one_by_one() {
    const PACKETS: u64 = 1_000;
    let _alone = heavy().await;
    let mut scene = Scene::begin().await;
    for packet in 0..PACKETS {
        scene.fire(challenges(packet)).await;
        scene.client.stay(Duration::from_millis(1)).await;
    }
    let after = bytes(&scene.pace.taken(&scene.gateway).await);
    let before = bytes(&scene.pace.before);
    let (came, went) = (after.0 - before.0, after.1 - before.1);
    scene.cost(Duration::from_secs(4));
    scene.goes_on().await;
    let answered = scene.client.path_responses() as u64;
    assert!(answered > 0, "it answers some");
    assert!(answered <= 3 * PACKETS, "{answered} answers");
    // If each challenge was, there would be as many bytes as came.
    assert!(went <= came / 4.0, "{went} bytes for {came}");
}

/// Row 8: 1,000,000 challenges from a client that acknowledges nothing, so that the server may
/// not send any more answers before long. It keeps three challenges of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_08_path_challenges_that_cannot_be_answered_are_not_kept() {
    const PACKETS: u64 = 10_000;
    let _alone = heavy().await;
    let mut scene = Scene::begin().await;
    for packet in 0..PACKETS {
        scene.fire(challenges(packet)).await;
    }
    scene.pace.taken(&scene.gateway).await;
    scene.cost(Duration::from_secs(10));
    scene.goes_on().await;
    assert_eq!(scene.gateway.h3().await.get("/").await.status, 200);
}

/// The frames of a packet: a hundred challenges, which are different in each.
fn challenges(packet: u64) -> Vec<u8> {
    let frames = (packet * 100..packet * 100 + 100).fold(Bytes::new(), |frames, data| {
        frames.numbers(&[PATH_CHALLENGE]).bytes(&data.to_be_bytes())
    });
    frames.done()
}

/// Row 8, at a hundredth: one connection's packets from 1,000 addresses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_08_a_client_that_comes_from_everywhere_is_bounded() {
    let _alone = heavy().await;
    let mut scene = Scene::begin().await;
    let before = received(&scene.pace.before);
    for turn in 0..1_000 {
        let source = socket(network(turn % 250, 1 + (turn / 250) as u8)).await;
        let frames = vec![PING; 50];
        (scene.client)
            .fire_from(&source, Level::OneRtt, frames)
            .await;
        if turn % 50 == 49 {
            taken(&scene.gateway, before, turn).await;
        }
    }
    let after = bytes(&scene.gateway.dataplane_metrics().await);
    let before = bytes(&scene.pace.before);
    let (came, went) = (after.0 - before.0, after.1 - before.1);
    assert!(went <= 3.0 * came, "{went} bytes for {came}");
    scene.cost(Duration::from_secs(10));
    // The client itself is where it was.
    scene.goes_on().await;
}

/// A connection ID that this gateway made for a connection that is gone.
async fn stale_id(gateway: &mut Gateway) -> Vec<u8> {
    let client = established(&gateway.target()).await;
    let id = client.server_id().to_vec();
    gateway.kill_dataplane();
    gateway.start_dataplane().await;
    id
}

fn to_stale(id: &[u8], length: usize) -> Vec<u8> {
    let mut datagram = vec![0x40];
    datagram.extend_from_slice(id);
    datagram.resize(length, 0x77);
    datagram
}

/// Row 11: resets are smaller than what asks for them, and are no reason for another one, so
/// that two gateways cannot go on resetting each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_resets_are_smaller_than_their_trigger_and_end_there() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::builder().shards(1).start(&upstream).await;
    let id = stale_id(&mut gateway).await;
    let source = socket(Ipv4Addr::LOCALHOST).await;
    let mut buffer = vec![0; 2_000];
    let patience = Duration::from_millis(500);
    for length in [18, 20, 21] {
        let sent = source.send_to(&to_stale(&id, length), gateway.https).await;
        sent.expect("loopback sends");
        let nothing = tokio::time::timeout(patience, source.recv_from(&mut buffer)).await;
        assert!(nothing.is_err(), "{length} bytes are too few for a reset");
    }
    for length in [22, 23, 41, 42, 43, 100, 1_200] {
        let sent = source.send_to(&to_stale(&id, length), gateway.https).await;
        sent.expect("loopback sends");
        let received = tidegate_tests::within("a reset", source.recv_from(&mut buffer)).await;
        let (size, _) = received.expect("loopback receives");
        assert!(size < length && size >= 21, "{size} bytes for {length}");
        // As another gateway would, if it answered.
        let sent = source.send_to(&buffer[..size], gateway.https).await;
        sent.expect("loopback sends");
        let nothing = tokio::time::timeout(patience, source.recv_from(&mut buffer)).await;
        assert!(nothing.is_err(), "a reset is not answered");
    }
}

/// Row 11: 2,000 stale packets of one network get few resets, and another one still gets its.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_one_network_does_not_use_up_the_resets_of_others() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::builder().shards(1).start(&upstream).await;
    let id = stale_id(&mut gateway).await;
    let flood = socket(network(1, 1)).await;
    let before = received(&gateway.dataplane_samples());
    let begin = std::time::Instant::now();
    for turn in 0..2_000 {
        let sent = flood.send_to(&to_stale(&id, 60), gateway.https).await;
        sent.expect("loopback sends");
        if turn % 100 == 99 {
            taken(&gateway, before, turn).await;
        }
    }
    // One in 64 networks shares its bucket with the flood's.
    let mut answered = 0;
    for index in 2..6 {
        let other = socket(network(index, 1)).await;
        let sent = other.send_to(&to_stale(&id, 60), gateway.https).await;
        sent.expect("loopback sends");
        let mut buffer = vec![0; 2_000];
        let reset = other.recv_from(&mut buffer);
        let patience = Duration::from_secs(2);
        answered += usize::from(tokio::time::timeout(patience, reset).await.is_ok());
    }
    assert!(answered >= 2, "{answered} of four others");
    let samples = gateway.dataplane_samples();
    let resets = samples.sum(
        "tidegate_quic_replies_total",
        &[("type", "stateless_reset")],
    );
    // A fifth of 500 in a second, and of 100 at once.
    let most = 20.0 + 100.0 * (begin.elapsed().as_secs_f64() + 1.0);
    assert!(resets <= Some(most), "{resets:?} of {most}");
}

/// Row 12, at a five-hundredth: 200 handshakes whose connection IDs are alike where a worker's
/// number could be read from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_ids_that_clients_choose_do_not_choose_a_shard() {
    const CONNECTIONS: usize = 200;
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .shards(4)
        .tls_option("tidegate.dev/retry", "never")
        .start(&upstream)
        .await;
    let replay = Replay::new(&gateway.target());
    let mut sources = Vec::new();
    for turn in 0..CONNECTIONS {
        let source = socket(network(turn, 1)).await;
        let mut id = [0x10; 20];
        id[12..].copy_from_slice(&(turn as u64).to_be_bytes());
        for datagram in replay.flight_to(&id) {
            let sent = source.send_to(&datagram, gateway.https).await;
            sent.expect("loopback sends");
        }
        sources.push(source);
    }
    let shards = eventually("all of them began", || async {
        let connections = gateway.admin().connections("").await;
        let mut shards = BTreeMap::<String, usize>::new();
        for connection in &connections {
            let id = connection["id"].as_str()?;
            *shards.entry(id.rsplit('.').nth(2)?.to_owned()).or_default() += 1;
        }
        (connections.len() >= CONNECTIONS).then_some(shards)
    })
    .await;
    let most = shards.values().max().copied().unwrap_or_default();
    assert!(most <= 2 * CONNECTIONS / 4, "{shards:?}");
}
