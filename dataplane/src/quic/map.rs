//! From a connection ID to its connection.

use std::rc::Rc;

use super::shared::Shared;
use crate::connections::Handle;

/// The QUIC connections of a shard. Connection IDs that this gateway made name the slot
/// themselves; what a client chose for its first flight is remembered elsewhere, until the
/// handshake ends.
#[derive(Default)]
pub struct ConnectionMap {
    by_slot: Vec<Option<(u32, Rc<Shared>)>>,
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
}
