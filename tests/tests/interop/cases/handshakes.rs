//! How connections begin.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_tests::{Faults, Gateway, Link, PacketType, Passed};

use super::{KB, MB, file};
use crate::{
    client::Client,
    scene::{LINK, Scene, Setup},
    task::Visit,
};

/// A handshake completes, without Retry.
pub(crate) async fn handshake(client: &Client) {
    let scene = Scene::new(Setup::default()).await;
    let outcome = scene.visit(client, vec![file(KB)]).await;
    assert_eq!(outcome.retries(), 0);
    assert_eq!(outcome.connection()["handshake"]["retry"], false);
    outcome.closed_without_error();
}

/// A handshake completes when the round trip is longer than the client's first time-out.
pub(crate) async fn long_rtt(client: &Client) {
    let delay = Duration::from_millis(750);
    let scene = Scene::new(Setup {
        link: Link { delay, ..LINK },
        ..Setup::default()
    });
    let outcome = scene.await.visit(client, vec![file(KB)]).await;
    let round_trip = outcome.connection()["stats"]["min_rtt_us"].as_u64();
    assert!(round_trip >= Some(1_500_000), "{}", outcome.connection());
    // The client has sent its ClientHello again, not as part of one flight, and before an answer was
    // there: what it says to one comes two delays after that has left.
    let passed = &outcome.passed;
    let answer = (passed.iter()).find(|passed| !passed.from_client);
    let answer = answer.expect("the gateway answers").at;
    let initials: Vec<Instant> = (passed.iter())
        .filter(|passed| passed.from_client && passed.packets.contains(&PacketType::Initial))
        .map(|passed| passed.at)
        .collect();
    let again = |at: &Instant| *at >= initials[0] + FLIGHT && *at < answer + 2 * delay;
    assert!(initials.iter().any(again), "{passed:?}");
}

/// Longer than it takes to send one, shorter than any client's first time-out.
const FLIGHT: Duration = Duration::from_millis(100);

/// A handshake completes with TLS_CHACHA20_POLY1305_SHA256.
pub(crate) async fn chacha20(client: &Client) {
    const CHACHA20: &str = "TLS_CHACHA20_POLY1305_SHA256";
    let scene = Scene::new(Setup::default()).await;
    let mut task = scene.task(vec![Visit {
        paths: vec![file(3 * MB)],
        ..Visit::default()
    }]);
    task.chacha20 = true;
    let outcome = scene.run(client, task).await;
    let cipher = &outcome.connection()["tls"]["cipher"];
    assert_eq!(cipher, CHACHA20);
    if let Some(told) = &outcome.report.visits[0].cipher {
        assert_eq!(told, CHACHA20, "the client's view");
    }
}

/// The server sends a Retry, and the client comes again with its token.
pub(crate) async fn retry(client: &Client) {
    let gateway = Gateway::builder().tls_option("tidegate.dev/retry", "always");
    let scene = Scene::new(Setup {
        gateway,
        ..Setup::default()
    });
    let outcome = scene.await.visit(client, vec![file(10 * KB)]).await;
    assert!(outcome.retries() >= 1, "{:?}", outcome.passed);
    assert_eq!(outcome.connection()["handshake"]["retry"], true);
    if let Some(retry) = outcome.report.visits[0].retry {
        assert!(retry, "the client saw it too");
    }
}

/// The second connection resumes the first one's session.
pub(crate) async fn resumption(client: &Client) {
    let scene = Scene::new(Setup::default()).await;
    let visit = |length| Visit {
        paths: vec![file(length)],
        ..Visit::default()
    };
    let visits = vec![visit(5 * KB), visit(10 * KB)];
    let outcome = scene.visits(client, visits).await;
    for (index, resumed) in [(0, false), (1, true)] {
        let tls = &outcome.connections[index]["tls"];
        assert_eq!(tls["resumed"], resumed, "{tls}");
        assert_eq!(tls["early_data"], false, "{tls}");
        if let Some(told) = outcome.report.visits[index].resumed {
            assert_eq!(told, resumed, "the client's view");
        }
    }
}

/// The second connection's requests come in 0-RTT packets, and are served as such.
pub(crate) async fn zero_rtt(client: &Client) {
    const FILES: usize = 40;
    let scene = Scene::new(Setup {
        policy: json!({"earlyData": true}),
        ..Setup::default()
    });
    let scene = scene.await;
    let name = "n".repeat(240);
    let path = |index| format!("/bytes/32?{name}{index}");
    let first = Visit {
        paths: vec![file(KB)],
        ..Visit::default()
    };
    let second = Visit {
        paths: (0..FILES).map(path).collect(),
        early_data: true,
        ..Visit::default()
    };
    let outcome = scene.visits(client, vec![first, second]).await;
    let tls = &outcome.connections[1]["tls"];
    assert_eq!(tls["early_data"], true, "{tls}");
    if let Some(accepted) = outcome.report.visits[1].early_data {
        assert!(accepted, "the client's view");
    }
    let accepted = [("outcome", "accepted")];
    let accepted = outcome
        .metrics
        .sum("tidegate_quic_early_data_total", &accepted);
    assert_eq!(accepted, Some(1.0));
    let packets: Vec<&Passed> = (outcome.passed.iter())
        .filter(|passed| passed.packets.contains(&PacketType::ZeroRtt))
        .collect();
    // 40 requests of more than 240 bytes.
    let bytes: usize = packets.iter().map(|passed| passed.length).sum();
    assert!(bytes > FILES * 240 / 2, "{packets:?}");
    let early = outcome
        .seen
        .iter()
        .filter(|seen| seen.headers.contains_key("early-data"));
    assert!(early.count() > 0, "the upstream was told");
}

/// Before the client's address is validated the server sends at most three times what it got,
/// though its certificate is larger than that.
pub(crate) async fn amplification_limit(client: &Client) {
    const LEAST_HANDSHAKE: u64 = 7500;
    /// RFC 9000 8.1; the runner lets 4 pass.
    const LIMIT: u64 = 3;
    let scene = Scene::new(Setup {
        gateway: Gateway::builder()
            .more_names(300)
            .tls_option("tidegate.dev/retry", "never"),
        policy: json!({"transport": {"handshakeTimeout": "30s"}}),
        faults: Faults {
            lost_upwards: &[2, 3, 4, 5, 6, 7],
            ..Faults::default()
        },
        ..Setup::default()
    });
    let outcome = scene.await.visit(client, vec![file(5 * KB)]).await;
    let (mut received, mut sent, mut validated) = (0, 0, false);
    let mut flight = 0;
    for passed in &outcome.passed {
        let length = passed.length as u64;
        if passed.from_client {
            received += length;
            validated |= passed.packets.contains(&PacketType::Handshake);
        } else {
            sent += length;
            flight += length * u64::from(passed.packets.contains(&PacketType::Handshake));
            let allowed = LIMIT * received;
            assert!(validated || sent <= allowed, "{sent} for {received}");
        }
    }
    assert!(validated, "{:?}", outcome.passed);
    assert!(
        flight >= LEAST_HANDSHAKE,
        "the chain has but {flight} bytes"
    );
}
