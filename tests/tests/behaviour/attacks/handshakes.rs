//! Rows 4 to 6, 29 and 31: first packets that nobody honest sends, and late ones.

use std::{net::Ipv4Addr, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tidegate_tests::{
    Forge, Gateway, Kind, Upstream, eventually, heavy,
    raw::{Bytes, Level, RawClient, Replay, Twist, initial},
};
use tokio::net::UdpSocket;

use super::{Pace, SLACK, accepted, apart, dropped, half_open, network, received, socket, taken};

/// RFC 9000 20.1.
const PROTOCOL_VIOLATION: u64 = 0x0a;
const CRYPTO_BUFFER_EXCEEDED: u64 = 0x0d;
const CRYPTO: u64 = 0x06;

/// Row 4: CRYPTO data far beyond what a handshake needs, before and after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_04_crypto_data_beyond_the_buffer_closes_the_connection() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let target = gateway.target();
    let tls = || target.tls.clone().expect("it has TLS");
    let frame = |offset: u64| {
        Bytes::new()
            .numbers(&[CRYPTO, offset, 1])
            .bytes(&[0])
            .done()
    };
    let mut closes = 0;
    for offset in [1 << 16, 1 << 30, (1 << 62) - 2] {
        let mut client = RawClient::begin(&target, tls(), Twist::default()).await;
        client.fire(Level::Initial, frame(offset)).await;
        // quiche says so in a Handshake packet, which this client has no keys for.
        eventually("the server closes", || async {
            let samples = gateway.dataplane_metrics().await;
            let labels = [("side", "local"), ("code", "crypto_buffer_exceeded")];
            let closed = samples.sum("tidegate_quic_close_frames_total", &labels)?;
            (closed == f64::from(closes + 1)).then_some(())
        })
        .await;
        closes += 2;

        let mut client = RawClient::begin(&target, tls(), Twist::default()).await;
        assert!(client.handshake(Duration::from_secs(10)).await);
        client.fire(Level::OneRtt, frame(offset)).await;
        let close = client.closed(Duration::from_secs(10)).await;
        let code = close.map(|close| close.code);
        assert_eq!(code, Some(CRYPTO_BUFFER_EXCEEDED), "1-RTT, offset {offset}");
    }
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
}

/// So many pieces of CRYPTO data with gaps between them are kept.
const KEPT: usize = 256;

/// CRYPTO data of a byte at each offset.
fn pieces(offsets: &[u64]) -> Vec<u8> {
    let frames = offsets.iter().fold(Bytes::new(), |frames, offset| {
        frames.numbers(&[CRYPTO, *offset, 1]).bytes(&[0])
    });
    frames.done()
}

/// Row 4: CRYPTO data that comes one byte at a time, with gaps, after the handshake. So many
/// pieces are kept and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_04_crypto_data_with_gaps_takes_bounded_memory() {
    const CONNECTIONS: u64 = 200;
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let mut gateway = apart().start(&upstream).await;
    let target = gateway.target();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let tls = target.tls.clone().expect("it has TLS");
        let mut client = RawClient::begin(&target, tls, Twist::default()).await;
        assert!(client.handshake(Duration::from_secs(10)).await);
        clients.push(client);
    }
    let before = gateway.dataplane_process().memory();
    let offsets: Vec<u64> = (1..1 << 16).step_by(2).take(KEPT + 1).collect();
    let (kept, beyond) = offsets.split_at(KEPT);
    for client in &mut clients {
        for chunk in kept.chunks(160) {
            client.fire(Level::OneRtt, pieces(chunk)).await;
        }
        let close = client.closed(Duration::from_millis(50)).await;
        assert_eq!(close, None, "it is within the limit");
    }
    let honest = gateway.h3().await;
    assert_eq!(honest.get("/").await.status, 200);
    let grown = gateway.dataplane_process().memory().saturating_sub(before);
    let most = CONNECTIONS * (1 << 16) + SLACK;
    assert!(grown <= most, "{grown} bytes");
    for client in &mut clients {
        client.fire(Level::OneRtt, pieces(beyond)).await;
        let close = client.closed(Duration::from_secs(10)).await;
        assert_eq!(close.map(|close| close.code), Some(PROTOCOL_VIOLATION));
    }
}

/// Row 4: the same in first packets, of handshakes that never go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_04_half_open_handshakes_with_gaps_take_bounded_memory() {
    const HANDSHAKES: usize = 250;
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let builder = apart().tls_option("tidegate.dev/retry", "never");
    let mut gateway = builder.start(&upstream).await;
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
    let before = gateway.dataplane_process().memory();
    let mut pace = Pace::begin(&gateway).await;
    // With gaps to begin with, so that TLS has nothing to read.
    let offsets: Vec<u64> = (1..1 << 16).step_by(2).take(KEPT).collect();
    for index in 0..HANDSHAKES {
        let source = socket(network(index, 1)).await;
        let id = (index as u64).to_be_bytes();
        for (number, chunk) in offsets.chunks(200).enumerate() {
            let datagram = initial(&id, &[1; 8], number as u64, pieces(chunk));
            let sent = source.send_to(&datagram, gateway.https).await;
            sent.expect("loopback sends");
            pace.sent(&gateway).await;
        }
    }
    let samples = pace.taken(&gateway).await;
    let waiting = half_open(&samples, "unvalidated");
    let grown = gateway.dataplane_process().memory().saturating_sub(before);
    assert_eq!(waiting, HANDSHAKES as f64, "all of them wait");
    let most = HANDSHAKES as u64 * (1 << 16) + SLACK;
    assert!(grown <= most, "{grown} bytes");
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
}

/// Row 5, at a hundredth: 100,000 datagrams of nothing but junk, coalesced and not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_05_junk_before_a_handshake_leaves_no_memory_behind() {
    const ROUND: usize = 25_000;
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let mut gateway = apart().start(&upstream).await;
    let (mut forge, source) = (Forge::new(5), socket(Ipv4Addr::LOCALHOST).await);
    let mut sent = received(&gateway.dataplane_metrics().await) as usize;
    let mut memory = Vec::new();
    for _round in 0..4 {
        for turn in 0..ROUND {
            let kind = [Kind::CoalescedJunk, Kind::InitialGarbage][turn % 2];
            let datagram = forge.make(kind);
            let done = source.send_to(&datagram, gateway.https).await;
            done.expect("loopback sends");
            sent += 1;
            if turn % 100 == 99 {
                taken(&gateway, 0.0, sent).await;
            }
        }
        eventually("nothing is half open", || async {
            let samples = gateway.dataplane_metrics().await;
            (half_open(&samples, "unvalidated") == 0.0).then_some(())
        })
        .await;
        memory.push(gateway.dataplane_process().memory());
    }
    let (first, last) = (memory[0], memory[3]);
    assert!(last <= first + SLACK, "{memory:?}");
    let samples = gateway.dataplane_metrics().await;
    let junk = dropped(&samples, "undecryptable") + dropped(&samples, "unknown_connection");
    assert!(junk > 3.0 * ROUND as f64, "counted: {junk}");
    assert!(
        gateway.admin().audit("").await.is_empty(),
        "and leaves no records"
    );
}

/// Row 6: every truncation of a true first flight, and transport parameters that are none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_06_malformed_first_packets_do_not_end_the_process() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let mut gateway = apart().start(&upstream).await;
    let target = gateway.target();
    let replay = Replay::new(&target);
    let source = socket(Ipv4Addr::LOCALHOST).await;
    let whole = replay.flight().remove(0);
    let mut pace = Pace::begin(&gateway).await;
    for length in 0..whole.len() {
        let sent = source.send_to(&whole[..length], gateway.https).await;
        sent.expect("loopback sends");
        pace.sent(&gateway).await;
    }
    // Truncated on its way, and padded to a full datagram again.
    for length in (0..1_100).step_by(7) {
        let mut hello = replay.flight().remove(0);
        hello[length..].fill(0);
        let sent = source.send_to(&hello, gateway.https).await;
        sent.expect("loopback sends");
        pace.sent(&gateway).await;
    }
    pace.taken(&gateway).await;
    let twists: [fn(&mut tidegate_tests::raw::Parameters); 4] = [
        |parameters| parameters.clear(),
        |parameters| {
            parameters.insert(0x04, vec![0xff; 9]);
        },
        |parameters| {
            parameters.insert(0x0f, vec![7; 21]);
        },
        |parameters| {
            parameters.insert(0x03, Vec::new());
        },
    ];
    for parameters in twists {
        let twist = Twist {
            parameters,
            ..Twist::default()
        };
        let tls = target.tls.clone().expect("it has TLS");
        let mut client = RawClient::begin(&target, tls, twist).await;
        client.closed(Duration::from_secs(1)).await;
    }
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
    assert!(gateway.dataplane_process().lives());
}

/// Row 6: first packets that are sealed as they should be, with what no client says in them.
/// Each begins a handshake, so that its frames, its ClientHello or its transport parameters are
/// read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_06_sealed_nonsense_does_not_end_the_process() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let builder = apart().tls_option("tidegate.dev/retry", "never");
    let mut gateway = builder.start(&upstream).await;
    let mut random = StdRng::seed_from_u64(6);
    let replay = Replay::new(&gateway.target());
    let mut packets = cut_hellos(replay.hello());
    packets.extend(changed_hellos(replay.hello(), &mut random));
    packets.extend(noisy_parameters(replay.hello(), &mut random));
    packets.extend(noisy_frames(replay.hello(), &mut random));
    let mut sources = Vec::new();
    for index in 0..100 {
        sources.push(socket(network(index, 1)).await);
    }
    let mut pace = Pace::begin(&gateway).await;
    for (index, frames) in packets.iter().enumerate() {
        let id = (index as u64).to_be_bytes();
        let datagram = initial(&id, &[1; 8], 0, frames.clone());
        let source = &sources[index % sources.len()];
        let sent = source.send_to(&datagram, gateway.https).await;
        sent.expect("loopback sends");
        pace.sent(&gateway).await;
        if index % 64 == 0 {
            none_waits(&gateway).await;
        }
    }
    let samples = pace.taken(&gateway).await;
    let began = accepted(&samples) - accepted(&pace.before);
    assert_eq!(began, packets.len() as f64, "each of them was let in");
    eventually("the handshakes are given up", || async {
        let samples = gateway.dataplane_metrics().await;
        (half_open(&samples, "unvalidated") == 0.0).then_some(())
    })
    .await;
    // What its connection ID does not open is not answered at all.
    let mut answers = 0;
    for source in &sources {
        while source.try_recv(&mut [0; 2_000]).is_ok() {
            answers += 1;
        }
    }
    assert!(answers > packets.len() / 2, "{answers} answers");
    let after = gateway.dataplane_metrics().await;
    let by_tls = [("error_type", "tls")];
    let refused = after.sum("tidegate_quic_handshakes_failed_total", &by_tls);
    assert!(refused > Some(200.0), "TLS refused {refused:?}");
    // A panic ends a connection's task, and nothing else.
    let by_abort = [("tidegate_closed_by", "abort")];
    let aborted = after.sum("tidegate_quic_connections_closed_total", &by_abort);
    assert_eq!(aborted, Some(0.0), "no connection broke");
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
    assert!(gateway.dataplane_process().lives());
}

/// Those that wait for too long would be refused, whatever they say.
async fn none_waits(gateway: &Gateway) {
    eventually("no handshake waits for its turn", || async {
        let samples = gateway.dataplane_metrics().await;
        let waiting = samples.sum("tidegate_handshakes_waiting", &[]);
        (waiting == Some(0.0)).then_some(())
    })
    .await;
}

fn crypto(message: &[u8]) -> Vec<u8> {
    let head = Bytes::new().numbers(&[CRYPTO, 0, message.len() as u64]);
    head.bytes(message).done()
}

/// A ClientHello that ends early, with and without its header saying so.
fn cut_hellos(hello: &[u8]) -> Vec<Vec<u8>> {
    let short = (0..hello.len())
        .step_by(3)
        .map(|length| crypto(&hello[..length]));
    let shortened = (4..hello.len()).map(|length| {
        let mut cut = hello[..length].to_vec();
        cut[1..4].copy_from_slice(&(length as u32 - 4).to_be_bytes()[1..]);
        crypto(&cut)
    });
    short.chain(shortened).collect()
}

/// A ClientHello of which one byte is another one.
fn changed_hellos(hello: &[u8], random: &mut StdRng) -> Vec<Vec<u8>> {
    let changed = (0..hello.len()).map(|at| {
        let mut changed = hello.to_vec();
        changed[at] ^= random.random_range(1..=255);
        crypto(&changed)
    });
    changed.collect()
}

/// A ClientHello with transport parameters of noise, and with its own ones of which a few bytes
/// are others.
fn noisy_parameters(hello: &[u8], random: &mut StdRng) -> Vec<Vec<u8>> {
    // quic_transport_parameters (RFC 9001 8.2), which begins with max_idle_timeout.
    let at = hello.windows(2).position(|id| id == [0x00, 0x39]);
    let at = at.expect("it has transport parameters") + 2;
    let length = usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
    let parameters = at + 2..at + 2 + length;
    let noisy = (0..300).map(|turn| {
        let mut noisy = hello.to_vec();
        let parameters = &mut noisy[parameters.clone()];
        if turn % 3 == 0 {
            random.fill(parameters);
        } else {
            for _ in 0..turn % 5 + 1 {
                parameters[random.random_range(0..length)] = random.random();
            }
        }
        crypto(&noisy)
    });
    noisy.collect()
}

/// Each kind of frame with noise behind it, and noise alone, half of them after a ClientHello.
fn noisy_frames(hello: &[u8], random: &mut StdRng) -> Vec<Vec<u8>> {
    let kinds = (0..=0x31)
        .flat_map(|kind| [Some(kind); 6])
        .chain([None; 100]);
    let frames = kinds.enumerate().map(|(turn, kind): (usize, Option<u8>)| {
        let mut noise = vec![0; random.random_range(1..500)];
        random.fill(&mut noise[..]);
        let mut frames = match turn % 2 {
            0 => crypto(hello),
            _ => Vec::new(),
        };
        frames.extend(kind);
        frames.extend(noise);
        frames
    });
    frames.collect()
}

/// Row 29: a ClientHello with a post-quantum share takes two Initials, which come in either
/// order, late, or only the second time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_29_a_client_hello_in_two_packets_arrives_in_any_order() {
    let upstream = Upstream::start().await;
    for retry in ["never", "always"] {
        let gateway = Gateway::builder()
            .shards(2)
            .tls_option("tidegate.dev/retry", retry)
            .start(&upstream)
            .await;
        for bend in [Bend::Nothing, Bend::Swap, Bend::LoseFirst, Bend::LoseSecond] {
            let socket = socket(Ipv4Addr::LOCALHOST).await;
            let complete = post_quantum(&socket, &gateway, bend, retry == "always").await;
            assert!(complete, "Retry {retry}, {bend:?}");
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bend {
    Nothing,
    Swap,
    LoseFirst,
    LoseSecond,
}

/// Whether a quiche client, which offers X25519MLKEM768, completes its handshake although its
/// first flight is bent.
async fn post_quantum(socket: &UdpSocket, gateway: &Gateway, bend: Bend, retry: bool) -> bool {
    let local = socket.local_addr().expect("it is bound");
    let mut config = quiche::Config::new(quiche::PROTOCOL_VERSION).expect("the version is known");
    config.set_application_protos(&[b"h3"]).expect("one name");
    config.verify_peer(false);
    config.set_initial_max_data(100_000);
    config.set_initial_max_streams_uni(3);
    config.set_initial_max_stream_data_uni(10_000);
    let scid = quiche::ConnectionId::from_ref(&[9; 8]);
    let mut client = quiche::connect(Some("site.test"), &scid, local, gateway.https, &mut config)
        .expect("it is sound");
    let mut buffer = vec![0; 1500];
    // With Retry it is the flight after that one that begins a handshake.
    let mut flights = if retry { 2 } else { 1 };
    for _round in 0..200 {
        let mut flight = Vec::new();
        while let Ok((length, _)) = client.send(&mut buffer) {
            flight.push(buffer[..length].to_vec());
        }
        if flights > 0 && !flight.is_empty() {
            flights -= 1;
            if flights == 0 {
                assert_eq!(flight.len(), 2, "it is post-quantum");
                match bend {
                    Bend::Nothing => {}
                    Bend::Swap => flight.swap(0, 1),
                    Bend::LoseFirst => drop(flight.remove(0)),
                    Bend::LoseSecond => drop(flight.remove(1)),
                }
            }
        }
        for datagram in flight {
            let sent = socket.send_to(&datagram, gateway.https).await;
            sent.expect("loopback sends");
        }
        if client.is_established() {
            return true;
        }
        let patience = client.timeout().unwrap_or(Duration::from_secs(1));
        match tokio::time::timeout(patience, socket.recv_from(&mut buffer)).await {
            Ok(received) => {
                let (length, from) = received.expect("loopback receives");
                let info = quiche::RecvInfo { from, to: local };
                let _state_tells = client.recv(&mut buffer[..length], info);
            }
            Err(_) => client.on_timeout(),
        }
        if client.is_closed() {
            return false;
        }
    }
    false
}

/// Row 31, at a twentieth: 50,000 empty datagrams beside a client that works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_31_empty_datagrams_are_counted_and_nothing_spins() {
    const EMPTY: usize = 50_000;
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let mut gateway = apart().start(&upstream).await;
    let client = gateway.h3().await;
    let source = socket(Ipv4Addr::LOCALHOST).await;
    let before = received(&gateway.dataplane_metrics().await);
    for turn in 0..EMPTY {
        let sent = source.send_to(&[], gateway.https).await;
        sent.expect("loopback sends");
        if turn % 500 == 499 {
            taken(&gateway, before, turn).await;
            assert_eq!(client.get("/work").await.status, 200);
        }
    }
    let samples = taken(&gateway, before, EMPTY).await;
    let counted = dropped(&samples, "empty");
    let kernel = samples
        .sum("tidegate_quic_datagrams_kernel_dropped_total", &[])
        .expect("it is counted");
    assert!(counted + kernel >= EMPTY as f64, "{counted} and {kernel}");
    let begin = gateway.dataplane_process().cpu();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle = gateway.dataplane_process().cpu() - begin;
    assert!(idle < Duration::from_millis(500), "idle, it took {idle:?}");
}
