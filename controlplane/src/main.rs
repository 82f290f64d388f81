//! The control plane as a process of its own: settings, logs, signals.

#![forbid(unsafe_code)]

use std::{
    env,
    io::{self, IsTerminal},
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;
use tidegate_controlplane::{Args, ControlPlane, policy};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

#[tokio::main]
async fn main() -> ExitCode {
    if env::args_os().nth(1).is_some_and(|word| word == "crds") {
        let documents: Vec<_> = policy::crds().into_values().collect();
        print!("{}", documents.join("---\n"));
        return ExitCode::SUCCESS;
    }
    let args = Args::parse();
    log();
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate-controlplane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let (config, tuning) = args.into_config();
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut plane = ControlPlane::start_tuned(config, tuning).await?;
    let end = tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
        error = plane.stopped() => Err(error),
    };
    if let Ok(signal) = end {
        info!(signal, "stopping");
    }
    plane.shutdown().await;
    end.map(|_| ())
}

/// To standard error: text for people, JSON for machines. `RUST_LOG` chooses what.
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
