//! The protocol between Tidegate's planes.
//!
//! Five files under `tidegate/v1`: the configuration (`snapshot`), the session that
//! carries it and the commands (`control`), the records of connections (`telemetry`),
//! the operator's API (`admin`) and the certificates of sessions (`trust`). This crate owns their Rust types, the text form of
//! a [`ConnectionId`] and nothing else; both planes depend on it, and it on neither.

#![forbid(unsafe_code)]

mod connection_id;
mod redacted;

pub use connection_id::{ConnectionId, InvalidConnectionId};

/// Types of the package `tidegate.v1`.
#[allow(clippy::all, clippy::use_self, unreachable_pub, unused_qualifications)]
pub mod v1 {
    tonic::include_proto!("tidegate.v1");
}
