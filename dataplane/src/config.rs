//! The static settings of a data plane: everything else comes in snapshots.

use std::{env, net::SocketAddr, path::PathBuf, thread, time::Duration};

use anyhow::{Context as _, bail, ensure};
use tonic::transport::Endpoint;

use crate::audit;

/// Most shards: a shard's index is one byte of every connection ID.
const MOST_SHARDS: usize = 255;
/// Name of the environment variable with the OpenTelemetry collector's address.
const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// How one data plane starts. Take [`Config::default`] for what need not be said.
#[derive(Clone, Debug)]
pub struct Config {
    /// Stable name: the pod's, or the host's. It begins every connection's id.
    pub id: String,
    /// Session addresses of the control plane's replicas, `http://host:port`. A session
    /// is kept to each of them.
    pub control: Vec<String>,
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
    /// OTLP collector (gRPC) for metrics and traces. None: neither is sent.
    pub otlp_endpoint: Option<String>,
}

/// No control plane, a shard for each core, and the collector that
/// `OTEL_EXPORTER_OTLP_ENDPOINT` names.
impl Default for Config {
    fn default() -> Self {
        Self {
            id: String::from("dataplane"),
            control: Vec::new(),
            gateway: String::new(),
            shards: 0,
            admin_listen: None,
            state_dir: None,
            spool_records: audit::DEFAULT_CAPACITY,
            drain_deadline: Duration::from_secs(30),
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
        self.replicas().map(drop)
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

    /// The control plane's replicas as they are dialled.
    ///
    /// # Errors
    /// When an address is no URL.
    pub(crate) fn replicas(&self) -> anyhow::Result<Vec<Endpoint>> {
        let dial = |url: &String| {
            let endpoint = Endpoint::from_shared(url.clone())
                .with_context(|| format!("control `{url}`: give http://host:port"))?;
            ensure!(
                endpoint.uri().scheme_str() == Some("http") && endpoint.uri().host().is_some(),
                "control `{url}`: give http://host:port"
            );
            Ok(endpoint
                .connect_timeout(Duration::from_secs(2))
                .tcp_nodelay(true)
                // A replica that vanished without a word is noticed in half a minute.
                .http2_keep_alive_interval(Duration::from_secs(15))
                .keep_alive_timeout(Duration::from_secs(10))
                .keep_alive_while_idle(true))
        };
        self.control.iter().map(dial).collect()
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
        ];
        for (config, expected) in cases {
            let refusal = refusal(config);
            assert!(refusal.contains(expected), "{refusal}");
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
