//! `tidegate upstream`: the demo's upstream alone, to put behind a gateway that is
//! elsewhere, such as one in Kubernetes.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::upstream::Upstream;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen, in the clear
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
}

/// Serves until SIGTERM or Ctrl-C.
///
/// # Errors
/// The address is taken.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let upstream = Upstream::start(args.listen)
        .await
        .with_context(|| format!("listen: cannot listen on {}", args.listen))?;
    println!("The demo's upstream listens on http://{}", upstream.address);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
