//! `tidegate connections qlog` and `keylog`: what happens on connections, into a file or a
//! pipe.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ArgGroup;
use tidegate_controlplane::api::types::{CaptureKeyLog, CaptureNextQlog, CaptureQlog, QlogLevel};

use crate::{
    admin::{AdminClient, AdminError, Pieces, Query},
    units,
};

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("of").required(true).args(["id", "next"]))]
pub struct QlogArgs {
    /// As in the first column of the list
    id: Option<String>,
    /// Of the next connection, from its first packet on
    #[arg(long)]
    next: bool,
    /// Of the next one from this address or CIDR range
    #[arg(long, value_name = "CIDR", requires = "next", conflicts_with = "id")]
    peer: Option<String>,
    #[command(flatten)]
    limits: Limits,
    /// Events of which importance
    #[arg(long, value_enum, default_value_t)]
    level: Level,
}

#[derive(Debug, clap::Args)]
pub struct KeyLogArgs {
    /// Only with this server name
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Only from this address or CIDR range
    #[arg(long, value_name = "CIDR")]
    peer: Option<String>,
    /// Of so many connections, on each data plane
    #[arg(long, value_name = "N", default_value_t = 1)]
    connections: u32,
    #[command(flatten)]
    limits: Limits,
}

#[derive(Debug, clap::Args)]
struct Limits {
    /// Stop after this time
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration, default_value = "60s")]
    duration: Duration,
    /// Stop before there are more bytes than this
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20)]
    max_bytes: u64,
    /// Write to this file [default: standard output]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Level {
    /// Packets, parameters and recovery
    Core,
    /// And streams and HTTP/3
    #[default]
    Base,
    /// Everything
    Extra,
}

/// # Errors
/// Any [`AdminError`].
pub(super) async fn qlog(api: &AdminClient, args: QlogArgs) -> Result<(), AdminError> {
    let (duration_ms, max_bytes) = args.limits.on_the_wire();
    let level = match args.level {
        Level::Core => QlogLevel::Core,
        Level::Base => QlogLevel::Base,
        Level::Extra => QlogLevel::Extra,
    };
    let pieces = match &args.id {
        Some(id) => {
            let wanted = CaptureQlog {
                duration_ms,
                max_bytes,
                level,
            };
            let query = Query::path(&["v1", "connections", id, "qlog"]);
            api.stream(&query, &wanted).await?
        }
        None => {
            let wanted = CaptureNextQlog {
                peer: args.peer.unwrap_or_default(),
                duration_ms,
                max_bytes,
                level,
            };
            let query = Query::path(&["v1", "connections", "next", "qlog"]);
            api.stream(&query, &wanted).await?
        }
    };
    save(pieces, args.limits.file.as_deref()).await
}

/// # Errors
/// Any [`AdminError`].
pub(super) async fn key_log(api: &AdminClient, args: KeyLogArgs) -> Result<(), AdminError> {
    let (duration_ms, max_bytes) = args.limits.on_the_wire();
    let wanted = CaptureKeyLog {
        server_name: args.server_name.unwrap_or_default(),
        peer: args.peer.unwrap_or_default(),
        connections: args.connections,
        duration_ms,
        max_bytes,
    };
    let query = Query::path(&["v1", "connections", "next", "keylog"]);
    let pieces = api.stream(&query, &wanted).await?;
    save(pieces, args.limits.file.as_deref()).await
}

impl Limits {
    /// Zero would mean the default.
    fn on_the_wire(&self) -> (u64, u64) {
        let duration = (self.duration.as_millis() as u64).max(1);
        (duration, self.max_bytes.max(1))
    }
}

async fn save(mut pieces: Pieces, to: Option<&Path>) -> Result<(), AdminError> {
    let Some(path) = to else {
        while let Some(piece) = pieces.next().await? {
            let mut out = io::stdout().lock();
            // Who closes it early has read enough.
            if out.write_all(&piece).and_then(|()| out.flush()).is_err() {
                break;
            }
        }
        return Ok(());
    };
    let failed = |error| AdminError::File {
        file: path.to_owned(),
        error,
    };
    let mut file = create(path).map_err(failed)?;
    let mut written = 0;
    while let Some(piece) = pieces.next().await? {
        file.write_all(&piece).map_err(failed)?;
        written += piece.len() as u64;
    }
    eprintln!("wrote {} to {}", units::bytes(written), path.display());
    Ok(())
}

/// For its owner alone: addresses are nobody else's business, and secrets even less.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}
