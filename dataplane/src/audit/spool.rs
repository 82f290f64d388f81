//! Records in the order of their numbers, until they are acknowledged.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use tidegate_proto::v1::Record;
use tokio::sync::mpsc;

use super::Ledger;

/// Owns every record that the control plane has not stored yet.
#[derive(Debug)]
pub struct Spool {
    receiver: mpsc::Receiver<BytesMut>,
    ledger: Arc<Ledger>,
    /// Encoded [`Record`]s, oldest first, without gaps in their numbers.
    records: VecDeque<Bytes>,
    /// Number of the newest record, 0 before the first.
    newest: u64,
}

impl Spool {
    pub(super) fn new(receiver: mpsc::Receiver<BytesMut>, ledger: Arc<Ledger>) -> Self {
        Self {
            receiver,
            ledger,
            records: VecDeque::new(),
            newest: 0,
        }
    }

    /// Numbers what the shards have offered since the last call.
    ///
    /// Numbers are given here, by one thread, so that they grow in the order of delivery
    /// whichever shard a record comes from.
    pub fn collect(&mut self) {
        while let Ok(mut record) = self.receiver.try_recv() {
            self.newest += 1;
            let number = Record {
                sequence: self.newest,
                kind: None,
            };
            // Fields may come in any order.
            number.encode(&mut record).expect("there is room");
            self.records.push_back(record.freeze());
        }
    }

    /// Number of the oldest record that waits.
    pub fn oldest(&self) -> Option<u64> {
        let waiting = self.records.len() as u64;
        (waiting > 0).then(|| self.newest - waiting + 1)
    }

    /// At most `limit` encoded [`Record`]s that come after `sequence`, and the number of the
    /// last one. `None`: there are none.
    pub fn after(&self, sequence: u64, limit: usize) -> Option<(Vec<Bytes>, u64)> {
        let oldest = self.oldest()?;
        let skip = (sequence + 1).saturating_sub(oldest);
        let waiting = self.records.iter().skip(skip as usize).take(limit);
        let records: Vec<_> = waiting.cloned().collect();
        let last = oldest + skip + records.len() as u64 - 1;
        (!records.is_empty()).then_some((records, last))
    }

    /// Forgets every record up to `sequence`. Numbers that were never given mean nothing.
    pub fn acknowledge(&mut self, sequence: u64) {
        let Some(oldest) = self.oldest() else { return };
        let stored = (sequence.min(self.newest) + 1).saturating_sub(oldest);
        let freed = self.records.drain(..stored as usize).count();
        self.ledger.waiting.fetch_sub(freed, Ordering::Relaxed);
        self.ledger
            .acknowledged
            .fetch_add(freed as u64, Ordering::Relaxed);
    }

    /// True when nothing waits: neither here nor on its way here.
    pub fn is_empty(&self) -> bool {
        self.ledger.waiting.load(Ordering::Relaxed) == 0
    }
}
