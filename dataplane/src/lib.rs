//! Tidegate's data plane.
//!
//! One pinned thread per core is a [`shard`]: it owns its sockets, its connections and
//! its upstream pools, and a request never leaves it. A control thread keeps the session
//! to the control plane ([`control`]), delivers audit records ([`audit`]), hands out what
//! operators have [captured](capture) and serves the local port ([`admin`]). Between the
//! threads there are six edges, all bounded: configuration and commands in, applied
//! versions, records and captures out, datagrams sideways.
//!
//! A packet's way: [`quic::udp`] → [`quic::demux`] → [`quic::listener`] → a connection's worker →
//! [`proxy::h3`] → [`proxy::serve`] → [`proxy::upstream`], and back the same way.

#![deny(unsafe_code)]

pub mod admin;
pub mod audit;
pub mod balance;
pub mod capture;
pub mod config;
pub mod connections;
pub mod control;
mod dataplane;
pub mod filter;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod fuzzing;
pub mod metrics;
pub mod path;
pub mod proxy;
pub mod quic;
pub mod route;
pub mod shard;
pub mod snapshot;
mod sys;
mod task;
pub mod telemetry;
pub mod tls;
mod turnstile;

pub use self::{
    config::{Config, Relay},
    dataplane::Dataplane,
};
