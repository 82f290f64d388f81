//! The connection layer: QUIC (RFC 9000) for one shard, on quiche.
//!
//! The way of a packet. [`udp`] receives a batch. [`demux`] reads from each datagram's
//! connection ID where it belongs, and [`listener`] acts on that: into the queue of a
//! connection of this shard, over to the shard that owns it, into a new connection, or
//! answered or dropped on the spot, or [relayed](relay) to the data plane that has it. Each connection is a task: its [`worker`] feeds the
//! queue to quiche, lets the [application](ApplicationOverQuic) act, and gathers what is
//! to be sent with what all others send in that turn.
//!
//! A connection lives in three stages, which are types: [`InitialConnection`], whose
//! handshake ends in a [`Running`] one, which is served until it is [`Closing`]. Between
//! the first two the caller decides whether to let the client in.

pub mod application;
pub mod cid;
mod command;
mod connection;
pub mod demux;
pub mod endpoint;
mod half_open;
mod handshake;
pub mod incoming;
pub(crate) mod initial;
mod limit;
pub mod listener;
mod map;
pub mod metrics;
pub mod relay;
mod shared;
pub mod stats;
pub mod token;
pub mod udp;
mod worker;

use bytes::Bytes;

pub use self::{
    application::{Activity, ApplicationError, ApplicationOverQuic, DrainPhase},
    cid::ConnectionIdGenerator,
    command::{ConnectionShutdownBehaviour, QuicCommand},
    connection::{InitialConnection, QuicConnection},
    handshake::{HandshakeError, HandshakeInfo},
    incoming::Incoming,
    limit::TokenBucket,
    map::ConnectionMap,
    metrics::Metrics,
    worker::{CONFIDENTIALITY_LIMIT, Closing, Running},
};

/// A quiche connection whose stream buffers are reference-counted, so that a body goes
/// from the upstream into packets without a copy on the way.
pub type QuicheConnection = quiche::Connection<BytesFactory>;

/// Makes [`Bytes`] for quiche.
#[derive(Clone, Copy, Debug, Default)]
pub struct BytesFactory;

impl quiche::BufFactory for BytesFactory {
    type Buf = Bytes;
    type DgramBuf = Vec<u8>;

    fn buf_from_slice(buf: &[u8]) -> Bytes {
        Bytes::copy_from_slice(buf)
    }

    fn dgram_buf_from_slice(buf: &[u8]) -> Vec<u8> {
        buf.to_vec()
    }
}
