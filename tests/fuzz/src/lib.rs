//! Fuzz targets: one for each thing that reads bytes from outside.
//!
//! Each is a function of bytes that panics where something is wrong: not only where the
//! code under test does, but where what it found breaks a promise. `tests/corpus.rs` runs
//! them on the corpus that is kept, with `cargo test`; `make fuzz` has libFuzzer look for
//! more (`examples/libfuzzer.rs`, `sancov`). The doors to private parts exist in debug builds alone.
//!
//! | bytes | from | target |
//! |---|---|---|
//! | datagrams, whole and as the kernel merges them; Initials and their frames | anybody | `demux`, `listener` |
//! | Retry tokens, connection IDs | anybody | `token`, `demux` |
//! | transport parameters of QUIC | clients | `parameters` |
//! | frames in 1-RTT packets | clients | `frames` |
//! | frames, QPACK and streams of HTTP/3 | clients | `http3` |
//! | heads of requests and their paths, `:authority`, `Origin` | clients | `request`, `path`, `filters` |
//! | heads and trailers of responses | upstreams | `response` |
//! | frames between data planes | pods | `relay` |
//! | requests for certificates | pods | `enroll` |
//! | messages of sessions and reports, snapshots | the other plane | `messages`, `snapshot` |
//! | files, objects of the API server, PEM, ECH keys, patterns, ranges | operators | `documents`, `objects`, `pem`, `ech`, `routes`, `selector` |
//! | queries and bodies of the admin API | operators | `admin` |
//!
//! Not here, and why:
//!
//! - *Frames in Handshake packets that no client of quiche writes.* There are but four kinds,
//!   read as those of Initials are. `listener` has what quiche writes, repeated, changed and
//!   from elsewhere; `tests/behaviour/attacks` has cases by hand.
//! - *TLS: hellos, tickets, certificates of clients, what is within an ECH.* BoringSSL reads
//!   them, and is fuzzed where it is made; `listener` sends it ClientHellos in pieces. Of a
//!   chain the data plane reads only when it ends.
//! - *HTTP/1.1 and HTTP/2, of clients and of upstreams.* hyper reads them, likewise. What becomes
//!   of what it has read, in each version, is in `request` and `response`;
//!   `tests/behaviour/smuggling` has the bytes.
//! - *gRPC of the admin API.* prost reads it, as `messages` has it read; operations begin
//!   with a selector.
//! - *Early data.* The register of flights takes a random of 32 bytes; what a request
//!   waits for is decided by its method and whether it has content.
//! - *Capsules, HTTP datagrams, frames of WebSocket.* Nobody here reads them: tunnels carry
//!   bytes, datagrams are dropped and counted. There is no PROXY protocol.
//! - *Key rings, roots, the audit database.* The control plane reads what it wrote itself.

#![cfg(debug_assertions)]

mod admin;
mod demux;
mod documents;
mod ech;
mod enroll;
mod filters;
mod frames;
mod http3;
mod listener;
mod messages;
mod objects;
mod parameters;
mod path;
mod pem;
mod planes;
mod quic;
mod relay;
mod request;
mod response;
mod routes;
mod selector;
mod snapshot;
mod token;
mod wire;

pub mod seeds;

/// One of the targets.
#[derive(Debug)]
pub struct Target {
    /// Name of its module and of its corpus.
    pub name: &'static str,
    /// Panics where a promise is broken.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($name:ident)*) => {
        &[$(Target { name: stringify!($name), run: $name::run },)*]
    };
}

/// All of them.
pub const TARGETS: &[Target] = targets! {
    admin demux documents ech enroll filters frames http3 listener messages objects parameters
    path pem relay request response routes selector snapshot token
};

/// The one of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
