//! What an operator can do, once for REST and gRPC: the protocol's types in and out.
//!
//! Checks what came in, asks the fleet or the history, and says what went wrong as a
//! [`Failure`](super::failure::Failure). Knows nothing of HTTP.

mod capture;
mod configuration;
mod connections;
mod dataplanes;
mod history;
mod listeners;

use std::sync::Arc;

pub(crate) use self::capture::Capture;
use crate::{fleet::Fleet, keys::KeyStore, store::AuditStore, telemetry::Instruments};

/// Everything that operations reach. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Operations {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) store: Arc<AuditStore>,
    pub(crate) keys: Arc<KeyStore>,
    pub(crate) instruments: Instruments,
}

/// Page sizes that a client may ask for, and what it gets if it does not say.
const MOST_PER_PAGE: u32 = 1000;
const DEFAULT_PER_PAGE: u32 = 100;

/// 0 is the default; too much is refused rather than cut, so that nobody takes a page
/// for the whole.
fn page_size(limit: u32) -> Result<u32, super::failure::Failure> {
    match limit {
        0 => Ok(DEFAULT_PER_PAGE),
        1..=MOST_PER_PAGE => Ok(limit),
        _ => Err(super::failure::Failure::Invalid(format!(
            "limit: at most {MOST_PER_PAGE}"
        ))),
    }
}
