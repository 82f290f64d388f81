//! What all clients share: where to connect to, what to expect there, and where to write it down.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rustls::{ClientConfig, client::Resumption};
use serde_json::json;
use tidegate_tests::{Gateway, Payload, Target, Upstream};

use crate::{diary::Diary, plan::Plan};

/// The longest body. quinn closes connections that run too far ahead of a reader.
pub(crate) const LONGEST: usize = 4 << 20;

pub(crate) struct World {
    /// HTTP/3, with the tickets of connections before.
    pub(crate) quic: Target,
    /// HTTP/3, always in a full handshake.
    pub(crate) fresh: Target,
    /// HTTP/1.1 and HTTP/2.
    pub(crate) tls: Target,
    pub(crate) cleartext: Target,
    /// As the upstream serves it.
    pub(crate) content: Bytes,
    pub(crate) diary: Diary,
    /// After which the gateway gives silent connections up.
    pub(crate) idle_timeout: Duration,
}

/// Both planes, with one shard, whose core is the measure of the load.
pub(crate) async fn start(plan: &Plan, upstream: &Upstream) -> Gateway {
    let builder = Gateway::builder().shards(1).processes("plane");
    let started = builder.start_with(|folder| {
        folder.service("app", &[upstream.address]);
        let rules = json!([{"backendRefs": [{"name": "app", "port": 80}]}]);
        folder.route("app", &[], &rules);
        let idle = format!("{}s", plan.idle_timeout.as_secs());
        folder.quic_policy(&json!({"transport": {"idleTimeout": idle}}));
    });
    started.await
}

impl World {
    pub(crate) fn new(plan: &Plan, gateway: &Gateway) -> Self {
        let quic = gateway.target();
        let tls = quic.tls.as_ref().expect("it has TLS");
        let mut forgetful = ClientConfig::clone(tls);
        forgetful.resumption = Resumption::disabled();
        let with = |config| Target {
            tls: Some(config),
            ..quic.clone()
        };
        Self {
            fresh: with(Arc::new(forgetful)),
            tls: with(gateway.authority.client(&["h2"])),
            cleartext: gateway.cleartext(),
            content: Payload::of(LONGEST as u64).pieces().flatten().collect(),
            diary: Diary::new(),
            idle_timeout: plan.idle_timeout,
            quic,
        }
    }
}

/// A generator that a task can keep.
pub(crate) fn random() -> StdRng {
    StdRng::seed_from_u64(rand::random())
}

/// A liar's address, in one of many networks: what a network may do is limited, and honest
/// clients are in another one.
pub(crate) fn elsewhere(random: &mut StdRng) -> IpAddr {
    let [network, subnet, host] = [64..=127, 0..=255, 1..=254].map(|all| random.random_range(all));
    IpAddr::from([127_u8, network, subnet, host])
}
