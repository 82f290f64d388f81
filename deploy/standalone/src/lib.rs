//! Tidegate on one machine.
//!
//! `up` runs both planes in one process, with a demo where no configuration is given;
//! `operate` has the operator's commands, which speak to the admin API of any Tidegate;
//! `get` is a small client for trying things out; `ech` makes keys. The planes do the work: nothing here
//! handles a packet or decides about a route. Only `main` and the tests call this crate.

#![forbid(unsafe_code)]

pub mod admin;
pub mod cli;
pub mod demo;
pub mod ech;
pub mod get;
pub mod operate;
pub mod origin;
pub mod quic;
pub mod state;
pub mod tcp;
pub mod trust;
pub mod units;
pub mod up;

use cli::{Cli, Command};

/// Does what the command line says.
///
/// # Errors
/// What went wrong, for the user to read.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Up(args) => up::run(args).await,
        Command::Get(args) => get::run(args).await,
        Command::Upstream(args) => demo::serve::run(args).await,
        Command::Connections(args) => Ok(operate::connections::run(args).await?),
        Command::Drain(args) => operate::drain::drain(args).await,
        Command::Undrain(args) => operate::drain::undrain(args).await,
        Command::Dataplanes(args) => Ok(operate::fleet::dataplanes(args).await?),
        Command::Listeners(args) => Ok(operate::fleet::listeners(args).await?),
        Command::Config(args) => Ok(operate::config::run(args).await?),
        Command::Status(args) => Ok(operate::status::run(args).await?),
        Command::Audit(args) => Ok(operate::audit::run(args).await?),
        Command::Top(args) => Ok(operate::top::run(args).await?),
        Command::Ech(args) => ech::run(&args),
    }
}
