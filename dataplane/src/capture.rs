//! Captures: what an operator asked to have written down of a connection, on its way to
//! whoever reads it.
//!
//! A shard writes into a bounded [`Buffer`]; the control thread hands out what is there,
//! piece by piece, when the control plane asks for it ([`Captures`]). So a reader that is
//! slow holds nobody up: what does not fit is left out, counted, and a record in its place
//! says how much it was.

mod armed;
mod buffer;
mod qlog;
mod record;
mod register;

pub(crate) use self::armed::{log_secret, wants_secrets};
pub use self::{
    armed::{Armed, Arms},
    buffer::{Buffer, End, Form},
    qlog::{Level, Qlog},
    record::Record,
    register::{Captures, Limits},
};

/// Why a connection is not captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is gone, or about to be.
    #[error("it has ended")]
    Gone,
    /// It is a TCP connection.
    #[error("it does not speak QUIC, and qlog is of QUIC")]
    NotQuic,
    /// One capture at a time.
    #[error("it is being captured already")]
    Captured,
    /// The connection has too much to do.
    #[error("it takes no commands now: try again")]
    Busy,
}
