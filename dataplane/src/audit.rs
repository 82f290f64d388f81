//! The way of connection records out of the shards and to the control plane.
//!
//! Shards [offer](Sink::offer) records and go on. The control thread owns the [`Spool`],
//! numbers the records, and [delivers](deliver) them to one control plane replica; it
//! keeps each record until that replica has stored it. Nothing here blocks a shard: when
//! the spool is full, the record is lost and counted. A record is encoded once, when it is
//! offered, and is bytes from there on: it may have to be sent again.

mod delivery;
mod spool;
mod wire;

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use bytes::BytesMut;
use prost::Message as _;
use tidegate_proto::v1::{Record, record::Kind};
use tokio::sync::mpsc;

pub(crate) use self::delivery::{Reporter, deliver};
pub use self::spool::Spool;

/// Records that may wait for acknowledgement unless the configuration says otherwise.
pub const DEFAULT_CAPACITY: usize = 65_536;

/// Makes a sink and its spool, which together hold at most `capacity` records, waiting
/// and unacknowledged ones included.
pub fn channel(capacity: usize) -> (Sink, Spool) {
    let capacity = capacity.max(1);
    let (sender, receiver) = mpsc::channel(capacity);
    let ledger = Arc::new(Ledger {
        capacity,
        ..Ledger::default()
    });
    (
        Sink {
            sender,
            ledger: ledger.clone(),
        },
        Spool::new(receiver, ledger),
    )
}

/// Takes records of any shard.
#[derive(Clone, Debug)]
pub struct Sink {
    sender: mpsc::Sender<BytesMut>,
    ledger: Arc<Ledger>,
}

impl Sink {
    /// Hands a record over. Never blocks: a full spool drops and counts it.
    pub fn offer(&self, record: Kind) {
        // The place is taken first, so that the channel itself can never be full.
        let taken =
            self.ledger
                .waiting
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                    (waiting < self.ledger.capacity).then_some(waiting + 1)
                });
        if taken.is_ok() {
            if self.sender.try_send(encoded(record)).is_ok() {
                self.ledger.accepted.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.ledger.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        self.ledger.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// What happened to all records so far.
    pub fn ledger(&self) -> Arc<Ledger> {
        self.ledger.clone()
    }
}

/// A record without its number, and room for that.
fn encoded(kind: Kind) -> BytesMut {
    let record = Record {
        kind: Some(kind),
        ..Record::default()
    };
    let mut bytes = BytesMut::with_capacity(record.encoded_len() + LONGEST_NUMBER);
    record.encode(&mut bytes).expect("it has grown to fit");
    bytes
}

/// A field of 64 bits.
const LONGEST_NUMBER: usize = 11;

/// Counts of records, shared between the threads.
#[derive(Debug, Default)]
pub struct Ledger {
    capacity: usize,
    waiting: AtomicUsize,
    accepted: AtomicU64,
    dropped: AtomicU64,
    acknowledged: AtomicU64,
}

impl Ledger {
    /// Records that wait to be sent or acknowledged.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed) as u64
    }

    /// Records that found a place.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Records lost because the spool was full, or its owner gone.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Records that the control plane has stored.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
