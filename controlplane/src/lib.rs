//! Tidegate's control plane.

#![forbid(unsafe_code)]

pub mod api;
pub mod gateway_api;
pub mod resources;
pub mod source;
pub mod status;
pub mod translate;
