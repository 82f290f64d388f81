//! The binary `tidegate`: command line in, exit code out.

#![forbid(unsafe_code)]

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use tidegate::cli::{Cli, Command};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The telemetry library reports each step of its own start and end.
const DEFAULT_FILTER: &str = "info,opentelemetry=warn,opentelemetry_sdk=warn";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = runtime(&cli).and_then(|runtime| {
        let outcome = runtime.block_on(tidegate::run(cli));
        // A task that blocks, reading standard input for one, must not keep the process.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The gateway logs and uses the threads that it finds; a command does neither.
fn runtime(cli: &Cli) -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = if matches!(cli.command, Command::Up(_)) {
        let filter =
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .init();
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    Ok(builder.enable_all().build()?)
}
