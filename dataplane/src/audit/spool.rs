//! Records in the order of their numbers, until they are acknowledged.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use tidegate_proto::v1::{Record, record::Kind};
use tokio::sync::mpsc;

use super::Ledger;

/// Owns every record that the control plane has not stored yet.
#[derive(Debug)]
pub struct Spool {
    receiver: mpsc::Receiver<Kind>,
    ledger: Arc<Ledger>,
    /// Numbered, oldest first, without gaps.
    records: VecDeque<Record>,
    /// Number of the newest record, 0 before the first.
    newest: u64,
}

impl Spool {
    pub(super) fn new(receiver: mpsc::Receiver<Kind>, ledger: Arc<Ledger>) -> Self {
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
        while let Ok(kind) = self.receiver.try_recv() {
            self.newest += 1;
            self.records.push_back(Record {
                sequence: self.newest,
                kind: Some(kind),
            });
        }
    }

    /// Number of the oldest record that waits.
    pub fn oldest(&self) -> Option<u64> {
        self.records.front().map(|record| record.sequence)
    }

    /// At most `limit` records that come after `sequence`.
    pub fn after(&self, sequence: u64, limit: usize) -> Vec<Record> {
        let Some(oldest) = self.oldest() else {
            return Vec::new();
        };
        let skip = (sequence + 1).saturating_sub(oldest) as usize;
        self.records
            .iter()
            .skip(skip)
            .take(limit)
            .cloned()
            .collect()
    }

    /// Forgets every record up to `sequence`. Numbers that were never given mean nothing.
    pub fn acknowledge(&mut self, sequence: u64) {
        let mut freed = 0;
        while self
            .records
            .front()
            .is_some_and(|record| record.sequence <= sequence)
        {
            self.records.pop_front();
            freed += 1;
        }
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
