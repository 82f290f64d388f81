//! The settings of the process: command line and environment in, [`Config`] out.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use clap::Parser;

use crate::provision::ProvisionArgs;

use crate::translate::CONTROLLER_NAME;

/// Serves Prometheus text of whatever else is in the process.
pub type ExtraMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What a control plane needs to know before it starts.
#[derive(Clone)]
pub struct Config {
    /// Where resources come from.
    pub source: Source,
    /// Where dataplanes connect: sessions and reports. Loopback only, unless over TLS.
    pub session_listen: SocketAddr,
    /// Where operators connect: REST, gRPC and metrics.
    pub admin_listen: SocketAddr,
    /// Folder of keys, token and audit history; made if it is not there.
    pub state_dir: PathBuf,
    /// What operators must show. `None`: the file `admin.token` in the state folder,
    /// made at the first start.
    pub admin_token: Option<String>,
    /// Added to `/metrics`.
    pub extra_metrics: Option<ExtraMetrics>,
    /// Where metrics and probes are without TLS, besides the admin port.
    pub metrics_listen: Option<SocketAddr>,
    /// File with the token that dataplanes show to get a certificate: sessions are over
    /// TLS then. In Kubernetes they show their ServiceAccount's, and this is not set.
    pub session_token_file: Option<PathBuf>,
    /// DNS names of this control plane, for its certificate.
    pub tls_names: Vec<String>,
}

/// Where resources come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder of YAML files, watched.
    Files(PathBuf),
    /// The API server of a cluster, watched and written to.
    Kubernetes(Kubernetes),
}

/// What of a cluster is Tidegate's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kubernetes {
    /// How data planes are provisioned.
    pub provision: ProvisionArgs,
    /// Where the control plane keeps its own objects. `None`: where it runs.
    pub namespace: Option<String>,
    /// Namespaces that are watched; none: all.
    pub watch_namespaces: Vec<String>,
    /// Serves GatewayClasses that name this controller. `None`: Tidegate's own name.
    pub controller_name: Option<String>,
}

/// A text that names no [`Source`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is no source: expected `files:DIR` with the folder of the YAML files, or `kubernetes`"
)]
pub struct InvalidSource(String);

impl FromStr for Source {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("files:") {
            Some(folder) if !folder.is_empty() => Ok(Self::Files(folder.into())),
            None if text == "kubernetes" => Ok(Self::Kubernetes(Kubernetes::default())),
            _ => Err(InvalidSource(text.to_owned())),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(folder) => write!(f, "files:{}", folder.display()),
            Self::Kubernetes(_) => f.write_str("kubernetes"),
        }
    }
}

/// What hardly anyone sets.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Audit records that are kept; older ones are deleted, and counted.
    pub audit_records: u64,
    /// Age at which the shared keys are rotated.
    pub key_age: Duration,
    /// How long dataplanes are waited for.
    pub patience: crate::fleet::Patience,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            audit_records: 1_000_000,
            key_age: Duration::from_secs(24 * 60 * 60),
            patience: crate::fleet::Patience::default(),
        }
    }
}

/// Tidegate's control plane: turns Gateway API resources into what dataplanes serve.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate-controlplane",
    version,
    after_help = "`tidegate-controlplane crds` prints the CustomResourceDefinitions of Tidegate's own kinds."
)]
pub struct Args {
    /// Where resources come from: `files:DIR`, or `kubernetes`
    #[arg(long, value_name = "SOURCE", env = "TIDEGATE_SOURCE")]
    source: Source,
    /// Namespace of the Lease and the keys, with `--source kubernetes`; its own unless given
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE")]
    namespace: Option<String>,
    /// Reads objects of this namespace only; may be given several times
    #[arg(long = "watch-namespace", value_name = "NAME")]
    watch_namespaces: Vec<String>,
    /// Serves GatewayClasses that name this controller
    #[arg(long, value_name = "NAME", default_value = CONTROLLER_NAME)]
    controller_name: String,
    #[command(flatten)]
    provision: ProvisionArgs,
    /// Address for dataplanes; loopback only, unless over TLS
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9091")]
    session_listen: SocketAddr,
    /// Address for operators and metrics
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    admin_listen: SocketAddr,
    /// Address of /metrics, /healthz and /readyz without TLS, besides the admin address
    #[arg(long, value_name = "ADDRESS", env = "TIDEGATE_METRICS_LISTEN")]
    metrics_listen: Option<SocketAddr>,
    /// File with a token that dataplanes show; sessions are over TLS then, and may come
    /// from other machines. They trust ca.crt in the state folder
    #[arg(long, value_name = "FILE", env = "TIDEGATE_SESSION_TOKEN_FILE")]
    session_token_file: Option<PathBuf>,
    /// DNS name or address of this control plane, for its certificate; once for each
    #[arg(
        long = "tls-name",
        value_name = "NAME",
        env = "TIDEGATE_TLS_NAME",
        value_delimiter = ','
    )]
    tls_names: Vec<String>,
    /// Folder of keys, admin token and audit history
    #[arg(long, value_name = "DIR", default_value = ".tidegate")]
    state: PathBuf,
    /// Audit records to keep
    #[arg(long, value_name = "COUNT", default_value_t = Tuning::default().audit_records)]
    audit_records: u64,
    /// Hours after which the shared keys are rotated
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8760))]
    key_hours: u32,
    /// What operators must show instead of the token in the state folder
    #[arg(
        env = "TIDEGATE_ADMIN_TOKEN",
        hide_env_values = true,
        long,
        hide = true
    )]
    admin_token: Option<String>,
}

impl Args {
    /// The settings that they mean.
    pub fn into_config(self) -> (Config, Tuning) {
        let source = match self.source {
            Source::Kubernetes(_) => Source::Kubernetes(Kubernetes {
                namespace: self.namespace,
                watch_namespaces: self.watch_namespaces,
                controller_name: Some(self.controller_name),
                provision: self.provision,
            }),
            files => files,
        };
        let config = Config {
            source,
            session_listen: self.session_listen,
            admin_listen: self.admin_listen,
            state_dir: self.state,
            admin_token: self.admin_token,
            extra_metrics: None,
            metrics_listen: self.metrics_listen,
            session_token_file: self.session_token_file,
            tls_names: self.tls_names,
        };
        let tuning = Tuning {
            audit_records: self.audit_records,
            key_age: Duration::from_secs(u64::from(self.key_hours) * 60 * 60),
            ..Tuning::default()
        };
        (config, tuning)
    }
}

/// Why a [`Config`] cannot be started with.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidConfig {
    /// Dataplanes would send and get secrets in the clear.
    #[error(
        "session-listen {0}: sessions with dataplanes carry keys and are not encrypted, so only a \
         loopback address such as 127.0.0.1:9091 is allowed; give --session-token-file for \
         sessions over TLS"
    )]
    SessionListen(SocketAddr),
    /// It would admit everyone, or nobody.
    #[error("admin-token: needs at least one character, and no spaces or control characters")]
    AdminToken,
}

impl Config {
    /// Refuses what must not be started.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        let encrypted =
            self.session_token_file.is_some() || matches!(&self.source, Source::Kubernetes(_));
        if !encrypted && !self.session_listen.ip().to_canonical().is_loopback() {
            return Err(InvalidConfig::SessionListen(self.session_listen));
        }
        let usable =
            |token: &String| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.admin_token.as_ref().is_none_or(usable) {
            return Err(InvalidConfig::AdminToken);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Config, clap::Error> {
        let args = ["tidegate-controlplane"].iter().chain(args);
        Args::try_parse_from(args).map(|args| args.into_config().0)
    }

    #[test]
    fn a_folder_suffices() {
        let config = parsed(&["--source", "files:/etc/tidegate"]).unwrap();
        assert_eq!(config.source, Source::Files("/etc/tidegate".into()));
        assert_eq!(config.admin_listen.to_string(), "127.0.0.1:9090");
        assert_eq!(config.session_listen.to_string(), "127.0.0.1:9091");
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn a_cluster_is_a_source_too() {
        let args = [
            "--source",
            "kubernetes",
            "--watch-namespace",
            "a",
            "--watch-namespace",
            "b",
        ];
        let Source::Kubernetes(cluster) = parsed(&args).unwrap().source else {
            panic!("another source");
        };
        assert_eq!(cluster.watch_namespaces, ["a", "b"]);
        assert_eq!(cluster.controller_name.as_deref(), Some(CONTROLLER_NAME));
    }

    #[test]
    fn a_source_without_a_kind_is_refused_with_the_form_that_is_expected() {
        for source in ["/etc/tidegate", "files:", "kubernetes:"] {
            let Err(error) = parsed(&["--source", source]) else {
                panic!("{source} was taken")
            };
            assert!(error.to_string().contains("files:DIR"), "{error}");
        }
    }

    #[test]
    fn sessions_are_refused_beyond_loopback_and_it_is_said_why() {
        for (address, allowed) in [
            ("127.0.0.1:0", true),
            ("127.8.9.1:9091", true),
            ("[::1]:9091", true),
            ("0.0.0.0:9091", false),
            ("[::]:9091", false),
            ("192.0.2.1:9091", false),
        ] {
            let config = parsed(&["--source", "files:x", "--session-listen", address])
                .unwrap()
                .check();
            assert_eq!(config.is_ok(), allowed, "{address}");
            if let Err(error) = config {
                let text = error.to_string();
                assert!(
                    text.contains("not encrypted") && text.contains(address),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn a_token_that_cannot_be_sent_is_refused() {
        for (token, usable) in [
            ("s3cret", true),
            ("", false),
            ("two words", false),
            ("\n", false),
        ] {
            let mut config = parsed(&["--source", "files:x"]).unwrap();
            config.admin_token = Some(token.into());
            assert_eq!(config.check().is_ok(), usable, "{token:?}");
        }
    }
}
