//! `tidegate up`: both planes in one process, until a signal ends them.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context;
use tidegate_controlplane::ControlPlane;
use tidegate_dataplane::{Dataplane, metrics::Metrics};

use crate::{
    demo::{Demo, Ports, welcome::Welcome},
    state::StateArgs,
    units,
};

mod ready;
mod signals;

use signals::Signals;

/// Name of the dataplane of this process, and the beginning of its connections' ids.
const DATAPLANE: &str = "local";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of Gateway API resources to serve, instead of the demo
    #[arg(long, value_name = "DIR")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub state: StateArgs,
    /// Threads that serve; 0 takes one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub shards: usize,
    /// Where the admin API listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    pub admin: SocketAddr,
    /// Where the control plane takes sessions of dataplanes
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9091")]
    pub session: SocketAddr,
    /// Where the dataplane answers /readyz, /healthz and /metrics
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9092")]
    pub dataplane_admin: SocketAddr,
    /// The demo's port for HTTPS and HTTP/3, when its files are first written
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 8443,
        conflicts_with = "config"
    )]
    pub https_port: u16,
    /// The demo's port for HTTP, when its files are first written
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 8080,
        conflicts_with = "config"
    )]
    pub http_port: u16,
    /// On SIGTERM or Ctrl-C: close what has not finished after this time
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration, default_value = "30s")]
    pub drain_deadline: Duration,
}

/// # Errors
/// Something that serving needs is not to be had, or a part of the process died.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    let state = prepare(&args.state.state)?;
    let ports = Ports {
        https: args.https_port,
        http: args.http_port,
    };
    let (folder, demo) = match &args.config {
        Some(folder) => (folder.clone(), None),
        None => {
            let demo = Demo::start(&state, ports).await?;
            tracing::info!(folder = %demo.folder.display(), upstream = %demo.upstream(), "demo");
            (demo.folder.clone(), Some(demo))
        }
    };
    let mut planes = Planes::start(&args, &state, folder).await?;
    let admin = planes.control.admin_addr();
    let probes = [Some(admin), planes.dataplane.admin_addr()];
    let probes: Vec<_> = probes.into_iter().flatten().collect();
    let greeting = demo.as_ref().map(|_| Welcome {
        state,
        ports,
        admin,
        program: program(),
    });
    let outcome = tokio::select! {
        error = planes.stopped() => Err(error),
        never = greet(&probes, greeting) => match never {},
        signal = signals.first() => {
            tracing::info!(signal, deadline = ?args.drain_deadline, "draining; once more ends at once");
            Ok(())
        }
    };
    let stopped = tokio::select! {
        () = planes.stop() => outcome,
        signal = signals.again() => {
            tracing::warn!(signal, "ended without draining");
            std::process::exit(1);
        }
    };
    drop(demo);
    stopped
}

/// Waits until traffic flows, says so, and then nothing more.
async fn greet(probes: &[SocketAddr], greeting: Option<Welcome>) -> Infallible {
    ready::wait(probes).await;
    match greeting {
        Some(welcome) => println!("{welcome}"),
        None => tracing::info!("ready"),
    }
    std::future::pending().await
}

/// Both planes.
struct Planes {
    control: ControlPlane,
    dataplane: Dataplane,
}

impl Planes {
    async fn start(args: &Args, state: &Path, folder: PathBuf) -> anyhow::Result<Self> {
        // The control plane's metrics page shows the dataplane's, which starts after it.
        let metrics = Arc::new(OnceLock::new());
        let extra_metrics = {
            let metrics: Arc<OnceLock<Metrics>> = Arc::clone(&metrics);
            Arc::new(move || metrics.get().map(Metrics::text).unwrap_or_default())
        };
        let control = ControlPlane::start(tidegate_controlplane::Config {
            source: tidegate_controlplane::Source::Files(folder),
            session_listen: args.session,
            admin_listen: args.admin,
            state_dir: state.to_owned(),
            admin_token: None,
            extra_metrics: Some(extra_metrics),
            metrics_listen: None,
            session_token_file: None,
            tls_names: vec![],
        })
        .await
        .context("start the control plane")?;
        let dataplane = Dataplane::start(tidegate_dataplane::Config {
            id: DATAPLANE.into(),
            control: vec![format!("http://{}", control.session_addr())],
            shards: args.shards,
            admin_listen: Some(args.dataplane_admin),
            state_dir: Some(state.join("dataplane")),
            drain_deadline: args.drain_deadline,
            ..Default::default()
        })
        .context("start the dataplane")?;
        // Set once, here.
        let _ = metrics.set(dataplane.metrics());
        Ok(Self { control, dataplane })
    }

    /// Waits until one of them is no longer whole.
    async fn stopped(&mut self) -> anyhow::Error {
        tokio::select! {
            error = self.control.stopped() => error.context("the control plane failed"),
            error = self.dataplane.stopped() => error.context("the dataplane failed"),
        }
    }

    /// The dataplane first: the control plane takes its last records.
    async fn stop(self) {
        self.dataplane.shutdown().await;
        self.control.shutdown().await;
    }
}

/// Makes the state folder, for its owner alone, and gives its absolute path.
fn prepare(state: &Path) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let context = || format!("make the state folder {}", state.display());
    if !state.exists() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state)
            .with_context(context)?;
    }
    state.canonicalize().with_context(context)
}

/// This program's path, unless the shell finds it by its name.
fn program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let search = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&search)
        .map(|folder| folder.join("tidegate"))
        .find(|candidate| candidate.is_file());
    let same = found.is_some_and(|found| found.canonicalize().ok() == program.canonicalize().ok());
    (!same).then_some(program)
}
