//! Workloads of Gateways: each has data planes and an address of its own.
//!
//! Owned here: what those objects look like, and that they are there. Never here: what a
//! Gateway means, which [`crate::translate`] has decided.

mod name;

pub use self::name::{label, name};
