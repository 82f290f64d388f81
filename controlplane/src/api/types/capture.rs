//! What an operator wants to have written down.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How much qlog to write of a live connection, at the most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CaptureQlog {
    /// Milliseconds, at most an hour. 0: a minute.
    #[schema(example = 60_000)]
    pub duration_ms: u64,
    /// Bytes, at most 1 GiB. 0: 16 MiB.
    #[schema(example = 16_777_216)]
    pub max_bytes: u64,
    /// Events of which importance.
    pub level: QlogLevel,
}

/// Of which connection to write qlog, and how much.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CaptureNextQlog {
    /// CIDR range of the peer's address, or one address. Empty: any.
    #[schema(example = "192.0.2.7")]
    pub peer: String,
    /// Milliseconds, at most an hour. 0: a minute.
    #[schema(example = 60_000)]
    pub duration_ms: u64,
    /// Bytes, at most 1 GiB. 0: 16 MiB.
    #[schema(example = 16_777_216)]
    pub max_bytes: u64,
    /// Events of which importance.
    pub level: QlogLevel,
}

/// Of which connections to write the key log, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CaptureKeyLog {
    /// Exact server name. Empty: any.
    #[schema(example = "shop.example.com")]
    pub server_name: String,
    /// CIDR range of the peer's address, or one address. Empty: any.
    #[schema(example = "192.0.2.7")]
    pub peer: String,
    /// On each dataplane, at most 1000. 0: 1.
    pub connections: u32,
    /// Milliseconds, at most an hour. 0: a minute.
    #[schema(example = 60_000)]
    pub duration_ms: u64,
    /// Bytes, at most 1 GiB. 0: 16 MiB.
    #[schema(example = 16_777_216)]
    pub max_bytes: u64,
}

/// Importance of events, as qlog defines it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QlogLevel {
    /// Packets, parameters and recovery.
    Core,
    /// And streams and HTTP/3.
    #[default]
    Base,
    /// Everything.
    Extra,
}
