//! `tidegate-dataplane`: one data plane in a process of its own.

use std::{
    fs,
    io::{self, IsTerminal as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::Parser;
use tidegate_dataplane::{Config, Dataplane, Relay};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Serves HTTP/3, HTTP/2 and HTTP/1.1 as the control plane says.
#[derive(Debug, Parser)]
#[command(name = "tidegate-dataplane", version)]
struct Args {
    /// Stable name of this data plane [default: the host's name]
    #[arg(long, env = "TIDEGATE_ID")]
    id: Option<String>,
    /// Where the control plane's sessions are, https://host:port, or http:// on this
    /// machine. A session is kept to every address of the host
    #[arg(long, env = "TIDEGATE_CONTROL", value_delimiter = ',', required = true)]
    control: Vec<String>,
    /// PEM file of the control plane's certificates, for https
    #[arg(long, env = "TIDEGATE_CONTROL_CA")]
    control_ca: Option<PathBuf>,
    /// File with the token that gets this data plane its certificate, for https
    #[arg(long, env = "TIDEGATE_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Gateway to serve, namespace/name [default: all]
    #[arg(
        long,
        env = "TIDEGATE_GATEWAY",
        default_value = "",
        hide_default_value = true
    )]
    gateway: String,
    /// Threads that serve traffic; 0 is one for each core
    #[arg(long, env = "TIDEGATE_SHARDS", default_value_t = 0)]
    shards: usize,
    /// Folder for the last good snapshot, to start without a control plane
    #[arg(long, env = "TIDEGATE_STATE")]
    state: Option<PathBuf>,
    /// Address of /readyz, /healthz and /metrics
    #[arg(long, env = "TIDEGATE_ADMIN_LISTEN", default_value = "127.0.0.1:9092")]
    admin_listen: SocketAddr,
    /// Seconds that connections have to end after SIGTERM
    #[arg(long, env = "TIDEGATE_DRAIN_DEADLINE", default_value_t = 30)]
    drain_deadline: u64,
    /// UDP address for packets that other data planes of the Gateway relay [default: none]
    #[arg(long, env = "TIDEGATE_RELAY_LISTEN")]
    relay_listen: Option<SocketAddr>,
    /// IP address, or address and port, where they reach it
    #[arg(long, env = "TIDEGATE_RELAY_ADDRESS", requires = "relay_listen")]
    relay_address: Option<String>,
    /// Stay ready while draining after SIGTERM: for balancers that know who ends, and forget
    /// the flows of who is not ready
    #[arg(long, env = "TIDEGATE_STAY_READY")]
    stay_ready: bool,
    /// Audit records kept while no control plane takes them
    #[arg(long, env = "TIDEGATE_SPOOL_RECORDS", default_value_t = tidegate_dataplane::audit::DEFAULT_CAPACITY)]
    spool_records: usize,
}

impl Args {
    fn config(self) -> anyhow::Result<Config> {
        let id = match self.id {
            Some(id) => id,
            None => host_name().context("the host has no name: give --id")?,
        };
        let relay = self
            .relay_listen
            .map(|listen| Relay::new(listen, self.relay_address.as_deref()))
            .transpose()?;
        Ok(Config {
            id,
            relay,
            stay_ready: self.stay_ready,
            control: self.control,
            control_ca: self.control_ca,
            token_file: self.token_file,
            gateway: self.gateway,
            shards: self.shards,
            admin_listen: Some(self.admin_listen),
            state_dir: self.state,
            spool_records: self.spool_records,
            drain_deadline: Duration::from_secs(self.drain_deadline),
            ..Config::default()
        })
    }
}

fn host_name() -> anyhow::Result<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")?;
    Ok(name.trim().to_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    log();
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate-dataplane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut dataplane = Dataplane::start(args.config()?)?;
    if let Some(address) = dataplane.admin_addr() {
        tracing::info!(%address, "admin port");
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        error = dataplane.stopped() => {
            dataplane.kill();
            return Err(error);
        }
    }
    tokio::select! {
        () = dataplane.shutdown() => Ok(()),
        // The second one means now.
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

/// Lines for people on a terminal, JSON for machines. RUST_LOG chooses what is said.
fn log() {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env_lossy();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    if io::stderr().is_terminal() {
        builder.init();
    } else {
        builder.json().init();
    }
}
