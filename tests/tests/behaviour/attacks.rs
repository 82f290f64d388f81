//! Attacks that broke others, one test or more for each row of the table in `tests/ATTACKS.md`,
//! which also says where rows are tested that are not here. Counts are smaller than in the
//! table, so that two slow cores do them in seconds; each test says how large they are.

mod addresses;
mod budget;
mod floods;
mod handshakes;
mod http3;
mod ids;
mod streams;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tidegate_tests::{
    Builder, Gateway, Process, Samples, Seen, Upstream, eventually,
    raw::{RawClient, get, post, stream},
};
use tokio::net::UdpSocket;

/// Not a test: the dataplane of those that look at its memory or its CPU time.
#[test]
#[ignore = "a process that other tests start"]
fn dataplane() {
    Process::serve();
}

/// One shard, in a process of its own.
fn apart() -> Builder {
    Gateway::builder().shards(1).process("attacks::dataplane")
}

/// What the allocator keeps although it was given back, and what a debug build has of its own.
const SLACK: u64 = 5 << 20;

async fn socket(address: impl Into<IpAddr>) -> UdpSocket {
    let bound = UdpSocket::bind(SocketAddr::new(address.into(), 0)).await;
    bound.expect("loopback binds")
}

/// An address in one of many networks, all of them of this machine.
fn network(index: usize, host: u8) -> IpAddr {
    let [high, low] = (index as u16).to_be_bytes();
    IpAddr::from([127, 100 + high, low, host])
}

/// Waits until the dataplane has taken so many datagrams since the count was `before`.
async fn taken(gateway: &Gateway, before: f64, datagrams: usize) -> Samples {
    eventually("the gateway takes what was sent", || async {
        let samples = gateway.dataplane_metrics().await;
        let received = received(&samples) - before;
        (received >= datagrams as f64).then_some(samples)
    })
    .await
}

/// Counts what is sent, and waits for the gateway so often that the kernel has room for all of
/// it: what is lost there tests nothing.
struct Pace {
    before: Samples,
    sent: usize,
}

impl Pace {
    /// So many datagrams of full size fit into a socket's buffer.
    const AT_ONCE: usize = 16;

    async fn begin(gateway: &Gateway) -> Self {
        let before = gateway.dataplane_metrics().await;
        Self { before, sent: 0 }
    }

    /// Another one was sent.
    async fn sent(&mut self, gateway: &Gateway) {
        self.sent += 1;
        if self.sent.is_multiple_of(Self::AT_ONCE) {
            self.taken(gateway).await;
        }
    }

    /// What the gateway has counted once it has taken all that was sent.
    async fn taken(&self, gateway: &Gateway) -> Samples {
        let samples = taken(gateway, received(&self.before), self.sent).await;
        let lost = kernel_dropped(&samples) - kernel_dropped(&self.before);
        assert_eq!(lost, 0.0, "the kernel had no room");
        samples
    }
}

fn kernel_dropped(samples: &Samples) -> f64 {
    let sum = samples.sum("tidegate_quic_datagrams_kernel_dropped_total", &[]);
    sum.expect("it is counted")
}

/// Handshakes that began.
fn accepted(samples: &Samples) -> f64 {
    let sum = samples.sum("tidegate_quic_initials_accepted_total", &[]);
    sum.expect("it is counted")
}

/// Datagrams that came, or that the kernel had no room for.
fn received(samples: &Samples) -> f64 {
    let direction = [("network_io_direction", "receive")];
    let sum = |name, labels: &[(&str, &str)]| samples.sum(name, labels).unwrap_or_default();
    sum("tidegate_quic_datagrams_total", &direction)
        + sum("tidegate_quic_datagrams_kernel_dropped_total", &[])
}

/// Bytes that the dataplane received and sent over UDP.
fn bytes(samples: &Samples) -> (f64, f64) {
    let of = |direction| {
        samples
            .sum(
                "tidegate_quic_io_bytes_total",
                &[("network_io_direction", direction)],
            )
            .unwrap_or_default()
    };
    (of("receive"), of("transmit"))
}

fn dropped(samples: &Samples, reason: &str) -> f64 {
    samples
        .sum(
            "tidegate_quic_datagrams_dropped_total",
            &[("reason", reason)],
        )
        .unwrap_or_default()
}

/// Goes on with the connection until its request for a path has reached the upstream.
async fn arrives(client: &mut RawClient, upstream: &Upstream, path: &str) -> Seen {
    for _ in 0..1_000 {
        client.stay(Duration::from_millis(20)).await;
        if let Some(seen) = upstream.seen_at(path).pop() {
            return seen;
        }
    }
    panic!("the request for {path} never reached the upstream")
}

/// How many handshakes are half open.
fn half_open(samples: &Samples, address: &str) -> f64 {
    samples
        .sum(
            "tidegate_quic_handshakes_half_open",
            &[("address", address)],
        )
        .expect("it is measured")
}
