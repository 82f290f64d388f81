//! The operator's API.

pub mod types;
