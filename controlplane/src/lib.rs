//! Tidegate's control plane.

#![forbid(unsafe_code)]

pub mod api;
mod clock;
pub mod gateway_api;
pub mod keys;
mod private_file;
pub mod resources;
pub mod selector;
pub mod source;
pub mod status;
pub mod store;
pub mod translate;
