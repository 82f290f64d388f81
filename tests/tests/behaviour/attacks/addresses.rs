//! Rows 1, 2 and 9: what is done for an address that nobody has proved.

use std::{net::Ipv4Addr, time::Duration};

use tidegate_tests::{
    Forge, Gateway, Kind, Upstream, eventually, heavy,
    raw::{Level, RawClient, Twist},
};

use super::{arrives, get, network, socket, stream};
use crate::{hostile::Source, resume::RetryClient};

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

/// Row 2: tokens of every length up to a datagram's; what is not one begins nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_02_tokens_of_noise_open_nothing() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .tls_option("tidegate.dev/retry", "always")
        .start(&upstream)
        .await;
    let mut client = RetryClient::start(gateway.https).await;
    let second = client.second_initial().await;
    let noise = RetryClient::at(gateway.https, Ipv4Addr::new(127, 0, 0, 3)).await;
    for length in 0..1_000 {
        noise.send(&with_token(&second, &vec![0xa5; length])).await;
    }
    assert!(!noise.is_answered().await);
    assert!(gateway.admin().connections("").await.is_empty());
    client.send(&second).await;
    assert!(client.is_answered().await, "an honest token still counts");
}

/// The same Initial, as far as it has one, with another token and the length that fits.
fn with_token(initial: &[u8], token: &[u8]) -> Vec<u8> {
    let (begin, length) = crate::resume::token_of(initial);
    let before = begin - if length < 64 { 1 } else { 2 };
    let mut datagram = initial[..before].to_vec();
    datagram.extend((0x4000 | token.len() as u16).to_be_bytes());
    datagram.extend_from_slice(token);
    let rest = 1200_usize.saturating_sub(datagram.len() + 2).max(100);
    datagram.extend((0x4000 | rest as u16).to_be_bytes());
    datagram.resize(datagram.len() + rest, 0x5a);
    datagram
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
