//! Harness of the behaviour tests: both planes in this process on loopback sockets,
//! upstreams that record what reached them, and clients of stacks that are not ours.
//!
//! It owns no assertions about the product: those are in `tests/behaviour`, one file for
//! each behaviour. Nothing here is used outside tests.

#![forbid(unsafe_code)]

mod admin;
mod authority;
mod client;
mod datagrams;
mod echo;
mod eventually;
mod gateway;
mod listeners;
mod metrics;
mod otlp;
mod payload;
mod ports;
mod process;
mod relay;
mod resources;
mod tap;
mod upstream;

pub use admin::{Admin, Close, Events};
pub use authority::{Authority, Identity};
pub use client::{
    Answer, Body, Cancel, Download, H3, HostileRun, Revocable, Target, Tcp, Wire, attack,
    attack_bare, body_of, data_frame, empty, fields, raw, request_fields, stream_body,
    stream_bytes,
};
pub use datagrams::{Forge, Kind};
pub use echo::{EchoServer, Noted, Notes, Policy};
pub use eventually::{eventually, eventually_within, heavy, within};
pub use gateway::{Builder, Gateway};
pub use listeners::{http, https};
pub use metrics::Samples;
pub use otlp::OtlpSink;
pub use payload::{Payload, sha256_hex};
pub use ports::free_port;
pub use process::Process;
pub use relay::{Faults, Link, PacketType, Passed, Relay};
pub use resources::Folder;
pub use tap::Tap;
pub use upstream::{RawUpstream, Reply, Seen, SeenBody, Upstream};
