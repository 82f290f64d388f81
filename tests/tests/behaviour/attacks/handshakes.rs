//! Rows 3 to 6, 29 and 31: floods of handshakes, and first packets that nobody honest sends.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use quinn::{Endpoint, crypto::rustls::QuicClientConfig};
use tidegate_tests::{
    Forge, Gateway, H3, Kind, Samples, Upstream, eventually, heavy,
    raw::{Bytes, Level, RawClient, Replay, Twist, initial},
    within,
};
use tokio::net::UdpSocket;

use super::{SLACK, apart, dropped, network, received, socket, taken};

/// RFC 9000 20.1.
const CRYPTO_BUFFER_EXCEEDED: u64 = 0x0d;
const CRYPTO: u64 = 0x06;

/// How many handshakes are half open.
fn half_open(samples: &Samples, address: &str) -> f64 {
    samples
        .sum(
            "tidegate_quic_handshakes_half_open",
            &[("address", address)],
        )
        .expect("it is measured")
}

fn retry_active(samples: &Samples) -> bool {
    samples.sum("tidegate_quic_retry_active", &[]) >= Some(1.0)
}

fn waiting(samples: &Samples) -> f64 {
    samples
        .sum("tidegate_quic_handshakes_waiting", &[])
        .expect("it is measured")
}

async fn connect_from(gateway: &Gateway, address: std::net::IpAddr) -> H3 {
    let target = gateway.target();
    let tls = target.tls.clone().expect("it has TLS");
    let crypto = QuicClientConfig::try_from(tls).expect("it has TLS 1.3");
    let endpoint = Endpoint::client((address, 0).into()).expect("loopback binds");
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint
        .connect_with(config, target.address, &target.server_name)
        .expect("the name is valid");
    let connection = within("the handshake", connecting)
        .await
        .expect("it is let in");
    H3::over(endpoint, connection, &target)
        .await
        .expect("HTTP/3 begins")
}

async fn was_validated(gateway: &Gateway, client: &H3) -> bool {
    let facts = gateway
        .admin()
        .connection_from(client.local_address())
        .await;
    facts["handshake"]["retry"] == true
}

/// Row 3, at a tenth of the rate: 2,000 handshakes from 250 networks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_03_a_flood_from_everywhere_is_asked_for_addresses_until_it_ends() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().shards(1).start(&upstream).await;
    let client = gateway.h3().await;
    let replay = Replay::new(&gateway.target());
    let before = received(&gateway.dataplane_samples());
    let mut on = false;
    for turn in 0..2_000 {
        let source = socket(network(turn % 250, 1 + (turn / 250) as u8)).await;
        for datagram in replay.flight() {
            let sent = source.send_to(&datagram, gateway.https).await;
            sent.expect("loopback sends");
        }
        if turn % 50 == 49 {
            let samples = taken(&gateway, before, turn).await;
            assert!(half_open(&samples, "unvalidated") <= 256.0, "turn {turn}");
            assert!(retry_active(&samples) || !on, "it went off at turn {turn}");
            on = retry_active(&samples);
            assert_eq!(client.get("/work").await.status, 200);
        }
    }
    assert!(on, "the flood was noticed");
    let samples = gateway.dataplane_samples();
    let retries = samples.sum("tidegate_quic_replies_total", &[("type", "retry")]);
    assert!(retries >= Some(1_500.0), "{retries:?}");
    // Somebody honest, of a network of the flood's.
    let honest = connect_from(&gateway, network(7, 200)).await;
    assert_eq!(honest.get("/honest").await.status, 200);
    assert!(was_validated(&gateway, &honest).await);
    eventually("after the flood nobody is asked any more", || async {
        let samples = gateway.dataplane_metrics().await;
        (!retry_active(&samples) && half_open(&samples, "unvalidated") == 0.0).then_some(())
    })
    .await;
    let later = gateway.h3().await;
    assert!(!was_validated(&gateway, &later).await);
}

/// Row 3: a thousand handshakes from one network.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_03_a_flood_from_one_network_is_asked_before_others_are() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().shards(1).start(&upstream).await;
    let replay = Replay::new(&gateway.target());
    let before = received(&gateway.dataplane_samples());
    for turn in 0..1_000 {
        let source = socket(network(0, 1 + (turn % 100) as u8)).await;
        let flight = replay.flight();
        let sent = source.send_to(&flight[0], gateway.https).await;
        sent.expect("loopback sends");
        if turn % 50 == 49 {
            taken(&gateway, before, turn + 1).await;
        }
    }
    let samples = gateway.dataplane_samples();
    assert_eq!(half_open(&samples, "unvalidated"), 128.0);
    assert!(!retry_active(&samples), "others are not asked");
    let neighbour = connect_from(&gateway, network(0, 200)).await;
    assert!(was_validated(&gateway, &neighbour).await);
    assert_eq!(neighbour.get("/neighbour").await.status, 200);
    let other = connect_from(&gateway, network(1, 200)).await;
    assert!(!was_validated(&gateway, &other).await);
}

/// Row 3: where Retry is off, the network's share is all that it gets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_03_without_retry_a_network_is_refused_beyond_its_share() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .shards(1)
        .tls_option("tidegate.dev/retry", "never")
        .start(&upstream)
        .await;
    let replay = Replay::new(&gateway.target());
    let before = received(&gateway.dataplane_samples());
    let source = socket(network(0, 1)).await;
    for turn in 0..300 {
        let sent = source.send_to(&replay.flight()[0], gateway.https).await;
        sent.expect("loopback sends");
        if turn % 50 == 49 {
            taken(&gateway, before, turn + 1).await;
        }
    }
    let samples = gateway.dataplane_samples();
    assert_eq!(half_open(&samples, "unvalidated"), 128.0);
    assert_eq!(dropped(&samples, "prefix_limit"), 172.0);
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
}

/// Row 3: more handshakes than a shard holds, from 220 networks, with Retry off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_03_a_shard_holds_so_many_handshakes_and_no_more() {
    const MOST: u64 = 2_048;
    const EACH: u64 = 40 << 10;
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let mut gateway = apart()
        .tls_option("tidegate.dev/retry", "never")
        .start(&upstream)
        .await;
    let client = gateway.h3().await;
    let replay = Replay::new(&gateway.target());
    let flood: Vec<Vec<u8>> = (0..2_200).map(|_| replay.flight().remove(0)).collect();
    let mut sources = Vec::new();
    for index in 0..220 {
        sources.push(socket(network(index, 1)).await);
    }
    let memory = gateway.dataplane_process().memory();
    let before = received(&gateway.dataplane_metrics().await);
    for (turn, datagram) in flood.iter().enumerate() {
        let sent = sources[turn % 220].send_to(datagram, gateway.https).await;
        sent.expect("loopback sends");
        if turn % 100 == 99 {
            let samples = taken(&gateway, before, turn).await;
            assert!(half_open(&samples, "unvalidated") <= MOST as f64);
        }
    }
    let samples = gateway.dataplane_metrics().await;
    assert!(dropped(&samples, "handshake_limit") > 0.0);
    let grown = gateway.dataplane_process().memory().saturating_sub(memory);
    assert!(grown <= MOST * EACH + SLACK, "{grown} bytes");
    assert_eq!(client.get("/").await.status, 200);
}

/// Row 3, the signing budget: half of the shard's time is for eight connections that are busy,
/// while 1,500 ClientHellos wait to be answered. In a debug build a request takes no longer than
/// a handshake, so there are at least half as many; without a budget there are a third. What
/// else the machine does can only keep the connections from being busy, so one of three tries
/// is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_03_requests_are_served_while_handshakes_wait() {
    let _alone = heavy().await;
    let mut outcomes = Vec::new();
    for _try in 0..3 {
        let (requests, handshakes, waited) = work_beside_a_flood().await;
        if requests >= handshakes / 2.0 && waited > 50.0 {
            return;
        }
        outcomes.push((requests, handshakes, waited));
    }
    panic!("requests, handshakes, most that waited: {outcomes:?}");
}

/// Requests that were served while a flood was answered, its handshakes, and how many of them
/// waited at once.
async fn work_beside_a_flood() -> (f64, f64, f64) {
    const FLOOD: usize = 1_500;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .shards(1)
        .tls_option("tidegate.dev/retry", "never")
        .start(&upstream)
        .await;
    let replay = Replay::new(&gateway.target());
    let flood: Vec<Vec<u8>> = (0..FLOOD).map(|_| replay.flight().remove(0)).collect();
    let (stop, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut busy = Vec::new();
    for _ in 0..8 {
        let client = gateway.h3().await;
        let (stop, served) = (stop.clone(), served.clone());
        busy.push(tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(client.get("/bytes/1000").await.status, 200);
                served.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }
    let accepted = |samples: &Samples| {
        samples
            .sum("tidegate_quic_initials_accepted_total", &[])
            .expect("it is counted")
    };
    let before = accepted(&gateway.dataplane_samples());
    let mut sources = Vec::new();
    for index in 0..15 {
        sources.push(socket(network(index, 1)).await);
    }
    let at_first = served.load(Ordering::SeqCst);
    let mut most_waiting = 0.0_f64;
    for (index, datagram) in flood.iter().enumerate() {
        let sent = sources[index % 15].send_to(datagram, gateway.https).await;
        sent.expect("loopback sends");
        if index % 50 == 49 {
            // The kernel has room for not many more. A few may be lost.
            eventually("the gateway takes what was sent", || async {
                let samples = gateway.dataplane_samples();
                let begun = accepted(&samples) - before;
                let lost = samples.sum("tidegate_quic_datagrams_kernel_dropped_total", &[])?;
                (begun + lost >= index as f64).then_some(())
            })
            .await;
        }
    }
    // Until the last one was answered, or had waited for too long.
    let answered = eventually("the flood is over", || {
        let samples = gateway.dataplane_samples();
        let (begun, waiting) = (accepted(&samples) - before, waiting(&samples));
        most_waiting = most_waiting.max(waiting);
        let late = samples.sum(
            "tidegate_quic_handshakes_failed_total",
            &[("error_type", "overload")],
        );
        let over = begun >= FLOOD as f64 * 0.9 && waiting == 0.0;
        async move { over.then_some(begun - late?) }
    })
    .await;
    let meanwhile = served.load(Ordering::SeqCst) - at_first;
    stop.store(true, Ordering::SeqCst);
    for task in busy {
        within("the work ends", task)
            .await
            .expect("no request failed");
    }
    (meanwhile as f64, answered, most_waiting)
}

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

/// Row 4: 20 connections whose 64 KiB of CRYPTO data come one byte at a time, with gaps.
/// quiche keeps each byte in a buffer of its own; what bounds it is that there are no more
/// than 32,768 of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_04_crypto_data_with_gaps_takes_bounded_memory() {
    const CONNECTIONS: u64 = 20;
    const PER_BYTE: u64 = 200;
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
    let offsets: Vec<u64> = (1..(1 << 16) - 2).step_by(2).collect();
    for client in &mut clients {
        for (turn, chunk) in offsets.chunks(160).enumerate() {
            let frames = chunk.iter().fold(Bytes::new(), |frames, offset| {
                frames.numbers(&[CRYPTO, *offset, 1]).bytes(&[0])
            });
            client.fire(Level::OneRtt, frames.done()).await;
            if turn % 32 == 31 {
                client.stay(Duration::from_millis(5)).await;
            }
        }
        let close = client.closed(Duration::from_millis(20)).await;
        assert_eq!(close, None, "it is within the limit");
    }
    let honest = gateway.h3().await;
    assert_eq!(honest.get("/").await.status, 200);
    let grown = gateway.dataplane_process().memory().saturating_sub(before);
    let most = CONNECTIONS * (1 << 15) * PER_BYTE + SLACK;
    assert!(grown <= most, "{grown} bytes");
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

/// Row 6: every truncation of a true first flight, and transport parameters of noise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_06_malformed_first_packets_do_not_end_the_process() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let mut gateway = apart().start(&upstream).await;
    let target = gateway.target();
    let replay = Replay::new(&target);
    let source = socket(Ipv4Addr::LOCALHOST).await;
    let whole = replay.flight().remove(0);
    for length in 0..whole.len() {
        let sent = source.send_to(&whole[..length], gateway.https).await;
        sent.expect("loopback sends");
    }
    // Truncated inside, and padded to a full datagram again.
    for length in (0..1_100).step_by(7) {
        let mut hello = replay.flight().remove(0);
        hello[length..].fill(0);
        let sent = source.send_to(&hello, gateway.https).await;
        sent.expect("loopback sends");
        let frames = vec![length as u8; 100 + length % 900];
        let noise = initial(&[length as u8; 8], &[1; 8], 0, frames);
        let sent = source.send_to(&noise, gateway.https).await;
        sent.expect("loopback sends");
    }
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
