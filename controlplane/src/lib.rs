//! Tidegate's control plane: Gateway API resources in; snapshots and commands out to
//! dataplanes; their records in; an API for operators.
//!
//! ```text
//!  source ──► resources ──► translate ──► fleet ◄──► dataplanes   (gRPC: Control, Telemetry)
//!                             ▲  │          │  │
//!                       keys ─┘  └► status  │  └─► store          (audit history, SQLite)
//!                                    │      │        │
//!                                    └────► api ◄────┘            (REST, gRPC, metrics)
//! ```
//!
//! Four ways lead through it:
//!
//! * **A file changes.** `source` reads the folder into new `resources`; the one task of
//!   `fleet::publish` has `translate` compute everything anew. If a snapshot's version is
//!   another one, each session's `feed` sends it, and dataplanes acknowledge or refuse it.
//! * **An operator commands.** `api::operations` checks what came in and asks the fleet;
//!   the id of a connection names its dataplane, whose session carries the command and the
//!   reply. There is no table of connections here.
//! * **A connection ends.** Its dataplane reports it; `store` keeps it in one transaction
//!   with how far the report went, then it is acknowledged, so it is neither lost nor doubled.
//! * **Keys age.** `keys` rotates them on disk, and they go the way of a changed file.
//!
//! `translate`, `status`, `selector`, the feed and the key ring are pure. Nothing here
//! lies on the path of a request: dataplanes serve on while the control plane is away.

#![forbid(unsafe_code)]

pub mod api;
mod clock;
pub mod config;
pub mod ech;
pub mod fleet;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod fuzzing;
pub mod gateway_api;
#[cfg(test)]
mod harness;
pub mod keys;
mod kubernetes;
pub mod leader;
pub mod policy;
mod private_file;
pub mod provision;
pub mod resources;
mod run;
pub mod selector;
mod serve;
pub mod source;
pub mod status;
pub mod store;
pub mod telemetry;
pub mod translate;
pub mod trust;

pub use self::{
    config::{Args, Config, InvalidConfig, Kubernetes, Source, Tuning},
    run::ControlPlane,
};
