//! Row 3, the signing budget: half of a shard's time is for connections that are busy, while
//! many ClientHellos wait to be answered. In a debug build a request takes no longer than a
//! handshake, so there are at least half as many. What else the machine does can only keep the
//! connections from being busy, so one of three tries is enough.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use rustls::{ClientConnection, pki_types::ServerName};
use tidegate_tests::{Gateway, Samples, Target, Upstream, eventually, heavy, raw::Replay, within};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::{JoinHandle, JoinSet},
};

use super::{network, socket};

/// Without a budget there are a third.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_03_requests_are_served_while_handshakes_wait() {
    holds_once(beside_a_flood_over_quic).await;
}

/// The budget is for both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_03_requests_are_served_while_handshakes_over_tcp_wait() {
    holds_once(beside_a_flood_over_tcp).await;
}

/// In one of three tries, with nothing else going on.
async fn holds_once(flood: impl AsyncFn() -> Outcome) {
    let _alone = heavy().await;
    let mut outcomes = Vec::new();
    for _try in 0..3 {
        let outcome = flood().await;
        if outcome.holds() {
            return;
        }
        outcomes.push(outcome);
    }
    panic!("{outcomes:?}");
}

/// What went on until a flood was over.
#[derive(Debug, Default)]
struct Outcome {
    requests: f64,
    handshakes: f64,
    /// The most that waited at once.
    waited: f64,
}

impl Outcome {
    fn holds(&self) -> bool {
        self.requests >= self.handshakes / 2.0 && self.waited > 50.0
    }

    fn look(&mut self, samples: &Samples) -> f64 {
        let waiting = samples.sum("tidegate_handshakes_waiting", &[]);
        let waiting = waiting.expect("it is measured");
        self.waited = self.waited.max(waiting);
        waiting
    }
}

/// Eight connections that send one request after the other.
struct Work {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Work {
    async fn begin(gateway: &Gateway) -> Self {
        let (stop, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut clients = Vec::new();
        for _ in 0..8 {
            let client = gateway.h3().await;
            let (stop, served) = (stop.clone(), served.clone());
            clients.push(tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(client.get("/bytes/1000").await.status, 200);
                    served.fetch_add(1, Ordering::SeqCst);
                }
            }));
        }
        Self {
            stop,
            served,
            clients,
        }
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            let worked = within("the work ends", client).await;
            worked.expect("no request failed");
        }
    }
}

/// 1,500 first flights from 15 networks.
async fn beside_a_flood_over_quic() -> Outcome {
    const FLOOD: usize = 1_500;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .shards(1)
        .tls_option("tidegate.dev/retry", "never")
        .start(&upstream)
        .await;
    let replay = Replay::new(&gateway.target());
    let flood: Vec<Vec<u8>> = (0..FLOOD).map(|_| replay.flight().remove(0)).collect();
    let work = Work::begin(&gateway).await;
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
    let (at_first, mut outcome) = (work.served(), Outcome::default());
    for (index, datagram) in flood.iter().enumerate() {
        let sent = sources[index % 15].send_to(datagram, gateway.https).await;
        sent.expect("loopback sends");
        if index % 50 == 49 {
            // The kernel has room for not many more. A few may be lost. Without a pause, or the
            // shard would answer all that came before the next ones come.
            let taken = async {
                loop {
                    let samples = gateway.dataplane_samples();
                    outcome.look(&samples);
                    let lost = samples.sum("tidegate_quic_datagrams_kernel_dropped_total", &[]);
                    let begun = accepted(&samples) - before;
                    if begun + lost.unwrap_or(0.0) >= index as f64 {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            };
            within("the gateway takes what was sent", taken).await;
        }
    }
    // Until the last one was answered, or had waited for too long.
    outcome.handshakes = eventually("the flood is over", || {
        let samples = gateway.dataplane_samples();
        let (begun, waiting) = (accepted(&samples) - before, outcome.look(&samples));
        let late = samples.sum(
            "tidegate_quic_handshakes_failed_total",
            &[("error_type", "overload")],
        );
        let over = begun >= FLOOD as f64 * 0.9 && waiting == 0.0;
        async move { over.then_some(begun - late?) }
    })
    .await;
    outcome.requests = (work.served() - at_first) as f64;
    work.end().await;
    outcome
}

/// 1,000 connections that say hello at the same time, and nothing more.
async fn beside_a_flood_over_tcp() -> Outcome {
    const FLOOD: usize = 1_000;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().shards(1).start(&upstream).await;
    let hello = hello(&gateway.target());
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        let stream = TcpStream::connect(gateway.https).await;
        flood.push(stream.expect("it listens"));
    }
    let work = Work::begin(&gateway).await;
    let (at_first, mut outcome) = (work.served(), Outcome::default());
    let mut answers = JoinSet::new();
    for mut stream in flood {
        let hello = hello.clone();
        answers.spawn(async move {
            stream.write_all(&hello).await.expect("it is taken");
            // The first byte of a record: a handshake message.
            matches!(stream.read_u8().await, Ok(22))
        });
    }
    let mut ended = 0;
    while let Some(answer) = within("an answer, or none", answers.join_next()).await {
        outcome.handshakes += f64::from(answer.expect("it came so far"));
        ended += 1;
        if ended % 20 == 0 {
            outcome.look(&gateway.dataplane_samples());
        }
    }
    outcome.requests = (work.served() - at_first) as f64;
    work.end().await;
    outcome
}

/// What a client says first.
fn hello(target: &Target) -> Vec<u8> {
    let tls = target.with_alpn(&["h2"]).expect("it has TLS");
    let name = ServerName::try_from(target.server_name.clone()).expect("it is a name");
    let mut client = ClientConnection::new(tls, name).expect("the configuration is whole");
    let mut hello = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut hello).expect("memory takes it");
    }
    hello
}
