//! What a client is asked to do, and what it says of it: JSON, for clients that are programs
//! of their own.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Read from standard input by a client that is a program.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Task {
    pub(crate) address: SocketAddr,
    pub(crate) server_name: String,
    /// A PEM file with the certificate to trust.
    pub(crate) authority: PathBuf,
    /// Visits, which come one after the other, keep no session tickets for those after them.
    pub(crate) fresh: bool,
    /// Offers TLS_CHACHA20_POLY1305_SHA256 alone.
    pub(crate) chacha20: bool,
    pub(crate) visits: Vec<Visit>,
}

/// One connection.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Visit {
    /// Fetched all at once.
    pub(crate) paths: Vec<String>,
    /// Sends its requests in 0-RTT packets.
    pub(crate) early_data: bool,
    /// Fetches the paths one after the other, and updates keys after the first.
    pub(crate) key_update: bool,
}

/// Written to standard output by a client that is a program.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) visits: Vec<Visited>,
}

/// What a client says of one connection. Of some facts a stack tells nothing.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Visited {
    pub(crate) files: Vec<File>,
    /// Why the connection or a request failed.
    pub(crate) error: Option<String>,
    pub(crate) resumed: Option<bool>,
    pub(crate) early_data: Option<bool>,
    pub(crate) retry: Option<bool>,
    pub(crate) cipher: Option<String>,
    pub(crate) key_updates: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) status: u16,
    pub(crate) length: u64,
    /// Lower-case hex.
    pub(crate) sha256: String,
}
