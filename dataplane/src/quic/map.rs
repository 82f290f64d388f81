//! From a connection ID to its connection.

use std::{collections::HashMap, rc::Rc};

use super::shared::Shared;
use crate::connections::Handle;

/// The QUIC connections of a shard. Connection IDs that this gateway made name the slot
/// themselves; only what a client chose for its first flight has to be remembered, until
/// the handshake ends.
#[derive(Default)]
pub struct ConnectionMap {
    by_slot: Vec<Option<(u32, Rc<Shared>)>>,
    by_initial: HashMap<Box<[u8]>, Handle>,
}

impl ConnectionMap {
    pub(crate) fn insert(&mut self, handle: Handle, connection: Rc<Shared>) {
        let slot = handle.slot as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize_with(slot + 1, || None);
        }
        self.by_slot[slot] = Some((handle.generation, connection));
    }

    pub(crate) fn remove(&mut self, handle: Handle) {
        if let Some(entry) = self.by_slot.get_mut(handle.slot as usize)
            && entry
                .as_ref()
                .is_some_and(|(generation, _)| *generation == handle.generation)
        {
            *entry = None;
        }
    }

    pub(crate) fn at(&self, handle: Handle) -> Option<&Rc<Shared>> {
        let (generation, connection) = self.by_slot.get(handle.slot as usize)?.as_ref()?;
        (*generation == handle.generation).then_some(connection)
    }

    /// Remembers a client-chosen connection ID.
    pub(crate) fn begin(&mut self, initial: &[u8], handle: Handle) {
        self.by_initial.insert(initial.into(), handle);
    }

    /// Forgets it.
    pub(crate) fn end(&mut self, initial: &[u8]) {
        self.by_initial.remove(initial);
    }

    /// The connection whose handshake began with this client-chosen ID.
    pub(crate) fn of_initial(&self, initial: &[u8]) -> Option<&Rc<Shared>> {
        self.at(*self.by_initial.get(initial)?)
    }

    /// Handshakes under way.
    pub fn half_open(&self) -> usize {
        self.by_initial.len()
    }
}
