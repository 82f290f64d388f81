//! Fuzz targets: one for each thing that reads bytes from outside.
//!
//! Each is a function of bytes that panics where something is wrong: not only where the
//! code under test does, but where what it found breaks a promise. `tests/corpus.rs` runs
//! them on the corpus that is kept, with `cargo test`. The doors to private parts exist in debug builds alone.

#![cfg(debug_assertions)]

mod admin;
mod demux;
mod documents;
mod ech;
mod enroll;
mod filters;
mod http3;
mod listener;
mod messages;
mod objects;
mod path;
mod pem;
mod planes;
mod quic;
mod relay;
mod request;
mod routes;
mod selector;
mod snapshot;
mod token;

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
    admin demux documents ech enroll filters http3 listener messages objects path pem
    relay request routes selector snapshot token
};

/// The one of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
