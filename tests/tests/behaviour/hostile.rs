//! Datagrams from nobody honest: counted, never amplified, and unnoticed by those who work.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tidegate_tests::{Forge, Gateway, H3, Kind, Samples, Upstream, eventually, heavy, within};
use tokio::net::UdpSocket;

const DATAGRAMS: usize = 200_000;
/// Addresses that the datagrams come from.
const SOURCES: usize = 32;
/// RFC 9000 8.1.
const AMPLIFICATION_LIMIT: u64 = 3;
/// Datagrams that fit the smallest socket buffer of a usual system.
const BURST: usize = 100;
const RECEIVE_BUFFER: usize = 65_536;

/// A source of datagrams that counts what comes back.
pub(crate) struct Source {
    socket: UdpSocket,
    sent: u64,
    received: u64,
}

impl Source {
    pub(crate) async fn new() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("loopback binds");
        Self {
            socket,
            sent: 0,
            received: 0,
        }
    }

    pub(crate) async fn send(&mut self, datagram: &[u8], to: SocketAddr) {
        self.socket
            .send_to(datagram, to)
            .await
            .expect("loopback sends");
        self.sent += datagram.len() as u64;
        self.collect();
    }

    /// Takes what has come. What is still on its way counts at the next call, when no less
    /// has been sent, so the check is never too strict.
    pub(crate) fn collect(&mut self) {
        let mut buffer = vec![0; RECEIVE_BUFFER];
        while let Ok((length, _)) = self.socket.try_recv_from(&mut buffer) {
            self.received += length as u64;
        }
        assert!(
            self.received <= AMPLIFICATION_LIMIT * self.sent,
            "{} bytes came back for {}",
            self.received,
            self.sent
        );
    }

    pub(crate) fn was_answered(&self) -> bool {
        self.received > 0
    }
}

/// Requests one after the other on one connection, and how long each took.
async fn honest_work(client: H3, stop: Arc<AtomicBool>) -> (H3, Vec<Duration>) {
    let mut durations = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let begin = Instant::now();
        let answer = client.get("/bytes/20000").await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 20_000));
        durations.push(begin.elapsed());
    }
    (client, durations)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_thousand_hostile_datagrams_change_nothing_for_a_client() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let id = gateway.admin().id_from(client.local_address()).await;
    let stop = Arc::<AtomicBool>::default();
    let work = tokio::spawn(honest_work(client, stop.clone()));

    let mut forge = Forge::new(0xbad);
    let mut sources = Vec::new();
    for _ in 0..SOURCES {
        sources.push(Source::new().await);
    }
    for turn in 0..DATAGRAMS {
        // A true first flight costs a handshake: one in four hundred is enough of them.
        let kind = match Kind::ALL[turn % Kind::ALL.len()] {
            Kind::InitialTrue if turn % 400 >= Kind::ALL.len() => Kind::RandomBytes,
            kind => kind,
        };
        let datagram = forge.make(kind);
        sources[turn % SOURCES].send(&datagram, gateway.https).await;
        if turn % BURST == 0 {
            taken(&gateway, turn as f64).await;
        }
    }
    stop.store(true, Ordering::SeqCst);
    let (client, mut durations) = within("the client's work ends", work)
        .await
        .expect("no request failed");
    sources.iter_mut().for_each(Source::collect);

    durations.sort();
    let requests = durations.len();
    assert!(
        requests > 100,
        "the client worked meanwhile: {requests} requests"
    );
    let (median, slowest) = (durations[requests / 2], durations[requests - 1]);
    assert!(
        median < Duration::from_millis(500),
        "half of all requests took {median:?} or longer"
    );
    // A datagram of its own that the kernel drops costs a client a time-out, no more.
    assert!(
        slowest < Duration::from_secs(20),
        "a request waited {slowest:?}"
    );
    assert_eq!(client.connection.close_reason(), None);
    let facts = gateway.admin().connection(&id).await;
    assert_eq!(
        facts["requests"],
        requests + 1,
        "the same connection throughout"
    );
    assert_eq!(
        gateway.h3().await.get("/").await.status,
        200,
        "new connections are taken"
    );

    let samples = gateway.dataplane_metrics().await;
    let reasons = samples.by("tidegate_quic_datagrams_dropped_total", "reason");
    assert!(reasons.len() >= 5, "drops are told apart: {reasons:?}");
    let counted: f64 = reasons.values().sum::<f64>() + answered(&samples);
    // The kernel drops what a full socket buffer cannot take, and counts it too.
    let kernel = samples
        .sum("tidegate_quic_datagrams_kernel_dropped_total", &[])
        .unwrap_or_default();
    // What is left repeats or bends one first flight, whose connection discards it: up to
    // four kinds of the nineteen.
    assert!(
        counted + kernel > DATAGRAMS as f64 * 15.0 / 19.0,
        "{counted} counted, {kernel} by the kernel: {reasons:?}"
    );
}

/// Waits until the gateway has taken so many datagrams, so that it is the gateway that is
/// tested, and not how the kernel shares a full socket buffer out.
async fn taken(gateway: &Gateway, datagrams: f64) {
    eventually("the gateway takes what was sent", || async {
        let samples = gateway.dataplane_samples();
        let received = samples.sum(
            "tidegate_quic_datagrams_total",
            &[("network_io_direction", "receive")],
        )?;
        let lost = samples.sum("tidegate_quic_datagrams_kernel_dropped_total", &[])?;
        (received + lost >= datagrams).then_some(())
    })
    .await;
}

/// Datagrams that got an answer without a connection, or began one.
fn answered(samples: &Samples) -> f64 {
    let sum = |name| samples.sum(name, &[]).unwrap_or_default();
    sum("tidegate_quic_replies_total") + sum("tidegate_quic_initials_accepted_total")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kind_of_datagram_is_amplified() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut forge = Forge::new(3);
    for kind in Kind::ALL {
        // Each datagram from an address of its own: none of them is ever validated.
        let mut sources = Vec::new();
        for _ in 0..20 {
            let mut source = Source::new().await;
            source.send(&forge.make(kind), gateway.https).await;
            sources.push(source);
        }
        // A server repeats what is not acknowledged; an honest request later, it had time to.
        assert_eq!(
            gateway.h3().await.get("/").await.status,
            200,
            "after {kind:?}"
        );
        sources.iter_mut().for_each(Source::collect);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_flight_without_a_second_stays_within_the_limit_while_it_is_repeated() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .tls_option("tidegate.dev/retry", "never")
        .start(&upstream)
        .await;
    let mut source = Source::new().await;
    source
        .send(&Forge::new(5).make(Kind::InitialTrue), gateway.https)
        .await;
    eventually("the server answers", || {
        source.collect();
        let answered = source.received > 0;
        async move { answered.then_some(()) }
    })
    .await;
    // Until the handshake's time-out, the server repeats what nobody acknowledges.
    eventually("the server gives the handshake up", || {
        source.collect();
        async {
            let failed = gateway
                .dataplane_metrics()
                .await
                .sum("tidegate_quic_handshakes_failed_total", &[]);
            (failed >= Some(1.0)).then_some(())
        }
    })
    .await;
    source.collect();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_flight_that_was_bent_on_the_way_closes_nothing() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .tls_option("tidegate.dev/retry", "never")
        .start(&upstream)
        .await;
    let mut source = Source::new().await;
    let mut bent = Forge::new(7).make(Kind::InitialTrue);
    bent[600] ^= 1;
    source.send(&bent, gateway.https).await;
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
    source.collect();
    // A close would end the handshake of a client whose next packet is whole.
    assert_eq!(source.received, 0);
    drop(upstream);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_versions_are_told_the_known_ones() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let source = Source::new().await;
    let datagram = Forge::new(9).make(Kind::UnknownVersion);
    source
        .socket
        .send_to(&datagram, gateway.https)
        .await
        .expect("loopback sends");
    let mut buffer = vec![0; 1500];
    let (length, _) = within("an answer comes", source.socket.recv_from(&mut buffer))
        .await
        .expect("loopback receives");
    let header = quiche::Header::from_slice(&mut buffer[..length], 8).expect("it parses");
    assert_eq!(header.ty, quiche::Type::VersionNegotiation);
    assert!(
        header
            .versions
            .is_some_and(|versions| versions.contains(&1))
    );
    // RFC 8999 6: connection IDs are echoed, swapped.
    assert_eq!(&header.dcid[..], &datagram[15..23]);
    assert_eq!(&header.scid[..], &datagram[6..14]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_of_before_a_crash_is_reset_at_once() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    gateway.kill_dataplane();
    gateway.start_dataplane().await;
    // The client speaks, and the new process knows the connection's reset token.
    let request = client.request("GET", "/");
    let (_, reason) = within("the client hears of it", async {
        tokio::join!(client.send(request, bytes::Bytes::new()), client.closed())
    })
    .await;
    assert_eq!(reason, quinn::ConnectionError::Reset);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_of_a_shard_that_is_no_more_is_reset_too() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::builder().shards(3).start(&upstream).await;
    // On each of three shards, most likely on another than the first.
    let mut clients = Vec::new();
    for _ in 0..12 {
        let client = gateway.h3().await;
        client.get("/").await;
        clients.push(client);
    }
    gateway.kill_dataplane();
    gateway.change(|builder| builder.shards(1));
    gateway.start_dataplane().await;
    for client in clients {
        let request = client.request("GET", "/");
        let (_, reason) = within("the client hears of it", async {
            tokio::join!(client.send(request, bytes::Bytes::new()), client.closed())
        })
        .await;
        assert_eq!(reason, quinn::ConnectionError::Reset);
    }
}
