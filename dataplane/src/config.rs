//! The static settings of a data plane: everything else comes in snapshots.

use std::{
    env,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};

use crate::{
    audit,
    control::{Target, Trust},
    quic::{CONFIDENTIALITY_LIMIT, relay},
};

/// Most shards: a shard's index is one byte of every connection ID.
const MOST_SHARDS: usize = 255;
/// Name of the environment variable with the OpenTelemetry collector's address.
const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// How one data plane starts. Take [`Config::default`] for what need not be said.
#[derive(Clone, Debug)]
pub struct Config {
    /// Stable name: the pod's, or the host's. It begins every connection's id.
    pub id: String,
    /// Where the control plane's sessions are, `https://host:port`, or `http://` on this
    /// machine. A session is kept to every address that a host has.
    pub control: Vec<String>,
    /// PEM file of what is trusted for `https`. It is read again whenever it is used.
    pub control_ca: Option<PathBuf>,
    /// File with the token that gets this data plane its certificate, for `https`. It is
    /// read again whenever it is used.
    pub token_file: Option<PathBuf>,
    /// `namespace/name` of the Gateway to serve. Empty: all of them.
    pub gateway: String,
    /// Threads that serve traffic. 0: one for each core.
    pub shards: usize,
    /// Where `/readyz`, `/healthz` and `/metrics` are. None: nowhere.
    pub admin_listen: Option<SocketAddr>,
    /// Folder for the last good snapshot, private keys included. None: it is not kept.
    pub state_dir: Option<PathBuf>,
    /// Audit records kept while no control plane takes them.
    pub spool_records: usize,
    /// Time that connections have to end when the data plane shuts down.
    pub drain_deadline: Duration,
    /// Taking part in relaying packets between the data planes of a Gateway. None: not.
    pub relay: Option<Relay>,
    /// Stay ready while the process drains at its end.
    pub stay_ready: bool,
    /// Packets that one connection may seal with AES-GCM (RFC 9001 6.6): at half of it the
    /// connection is drained. Tests make it smaller; a larger one is cut.
    pub packets_per_key: u64,
    /// OTLP collector (gRPC) for metrics and traces. None: neither is sent.
    pub otlp_endpoint: Option<String>,
}

/// The relay port, UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Where it is bound.
    pub listen: SocketAddr,
    /// Where the other data planes reach it.
    pub address: SocketAddr,
}

impl Relay {
    /// `address` may leave out the port, and be left out if `listen` is one address. If
    /// `listen` is every address, those of the family of `address` are meant.
    ///
    /// # Errors
    /// Names the setting and the remedy.
    pub fn new(listen: SocketAddr, address: Option<&str>) -> anyhow::Result<Self> {
        let address = match address {
            Some(text) => {
                let alone = text.parse().map(|ip| SocketAddr::new(ip, listen.port()));
                text.parse().or(alone).ok().with_context(|| {
                    format!("relay-address `{text}`: give an IP address, with or without a port")
                })?
            }
            None => listen,
        };
        ensure!(
            !address.ip().is_unspecified() && address.port() != 0,
            "relay-address {address}: give the address where other data planes reach this one"
        );
        let mut listen = listen;
        if listen.ip().is_unspecified() && listen.is_ipv4() != address.is_ipv4() {
            listen.set_ip(match address {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            });
        }
        Ok(Self { listen, address })
    }

    /// A socket for each shard.
    pub(crate) fn bind(&self, shards: usize) -> anyhow::Result<Vec<UdpSocket>> {
        let sockets: Result<_, _> = (0..shards).map(|_| relay::bind(self.listen)).collect();
        sockets.with_context(|| format!("relay-listen {}: choose a free address", self.listen))
    }
}

/// No control plane, a shard for each core, and the collector that
/// `OTEL_EXPORTER_OTLP_ENDPOINT` names.
impl Default for Config {
    fn default() -> Self {
        Self {
            id: String::from("dataplane"),
            control: Vec::new(),
            control_ca: None,
            token_file: None,
            gateway: String::new(),
            shards: 0,
            admin_listen: None,
            state_dir: None,
            spool_records: audit::DEFAULT_CAPACITY,
            drain_deadline: Duration::from_secs(30),
            relay: None,
            stay_ready: false,
            packets_per_key: CONFIDENTIALITY_LIMIT,
            otlp_endpoint: env::var(OTLP_ENDPOINT)
                .ok()
                .filter(|endpoint| !endpoint.is_empty()),
        }
    }
}

impl Config {
    /// Checks what cannot be served.
    ///
    /// # Errors
    /// Names the setting and the remedy.
    pub fn validate(&self) -> anyhow::Result<()> {
        let printable = |c: char| c.is_ascii_graphic() && c != '/';
        ensure!(
            !self.id.is_empty() && self.id.len() <= 253 && self.id.chars().all(printable),
            "id `{}`: give a name of 1 to 253 printable ASCII characters without `/`",
            self.id
        );
        if !self.gateway.is_empty() {
            let parts: Vec<_> = self.gateway.split('/').collect();
            if parts.len() != 2 || parts.iter().any(|part| part.is_empty()) {
                bail!(
                    "gateway `{}`: give `namespace/name`, or nothing for all",
                    self.gateway
                );
            }
        }
        ensure!(
            self.shards <= MOST_SHARDS,
            "shards {}: give at most {MOST_SHARDS}, or 0 for one on each core",
            self.shards
        );
        ensure!(self.spool_records > 0, "spool-records: give at least 1");
        self.trust().map(drop)
    }

    /// The number of shards to start.
    pub fn shard_count(&self) -> usize {
        match self.shards {
            0 => thread::available_parallelism()
                .map_or(1, usize::from)
                .min(MOST_SHARDS),
            count => count,
        }
    }

    /// Where the control plane's replicas are found.
    ///
    /// # Errors
    /// When an address is no URL.
    pub(crate) fn targets(&self) -> anyhow::Result<Vec<Target>> {
        self.control.iter().map(|url| Target::parse(url)).collect()
    }

    /// What TLS with the control plane needs, if it is spoken.
    pub(crate) fn trust(&self) -> anyhow::Result<Option<Trust>> {
        if !self.targets()?.iter().any(Target::is_tls) {
            return Ok(None);
        }
        let ca = self.control_ca.as_ref();
        let token = self.token_file.as_ref();
        Ok(Some(Trust::new(
            ca.context("control-ca: https needs the file with the control plane's certificates")?,
            token.context("token-file: https needs the file with this data plane's token")?,
            &self.id,
            &self.gateway,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(config: Config) -> String {
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_the_setting_and_the_remedy() {
        let cases = [
            (
                Config {
                    id: "a/b".into(),
                    ..Config::default()
                },
                "id `a/b`",
            ),
            (
                Config {
                    id: String::new(),
                    ..Config::default()
                },
                "id ``",
            ),
            (
                Config {
                    gateway: "edge".into(),
                    ..Config::default()
                },
                "namespace/name",
            ),
            (
                Config {
                    shards: 256,
                    ..Config::default()
                },
                "at most 255",
            ),
            (
                Config {
                    spool_records: 0,
                    ..Config::default()
                },
                "at least 1",
            ),
            (
                Config {
                    control: vec!["localhost:1".into()],
                    ..Config::default()
                },
                "http://host:port",
            ),
            (
                Config {
                    control: vec!["no url".into()],
                    ..Config::default()
                },
                "http://host:port",
            ),
            (
                Config {
                    control: vec!["https://control:9091".into()],
                    ..Config::default()
                },
                "control-ca",
            ),
        ];
        for (config, expected) in cases {
            let refusal = refusal(config);
            assert!(refusal.contains(expected), "{refusal}");
        }
    }

    #[test]
    fn the_relay_listens_in_the_family_of_its_address() {
        let listen = "0.0.0.0:9094".parse().unwrap();
        let relay = Relay::new(listen, Some("fd00::7")).unwrap();
        assert_eq!(relay.listen, "[::]:9094".parse().unwrap());
        assert_eq!(relay.address, "[fd00::7]:9094".parse().unwrap());
        let relay = Relay::new(listen, Some("10.0.0.7:9999")).unwrap();
        assert_eq!((relay.listen, relay.address.port()), (listen, 9999));
        let alone = "127.0.0.1:9094".parse().unwrap();
        assert_eq!(Relay::new(alone, None).unwrap().address, alone);
        for nowhere in [None, Some("0.0.0.0"), Some("edge:9094")] {
            let refusal = Relay::new(listen, nowhere).unwrap_err().to_string();
            assert!(refusal.contains("relay-address"), "{refusal}");
        }
    }

    #[test]
    fn a_name_may_have_dots_and_the_gateway_may_be_left_out() {
        let config = Config {
            id: "edge-1.eu.example".into(),
            control: vec!["http://127.0.0.1:9091".into()],
            ..Config::default()
        };
        config.validate().unwrap();
        assert!(config.shard_count() >= 1);
    }
}
