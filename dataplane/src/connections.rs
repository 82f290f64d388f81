//! The live connections of one shard, as operators see them: QUIC and TCP alike.
//!
//! A [`Handle`] names a slot and the use of it; with the dataplane and the shard in
//! front it is the [`ConnectionId`](tidegate_proto::ConnectionId) of the admin API.

use std::{rc::Rc, sync::Arc, time::Instant};

use slab::Slab;
use tidegate_proto::v1;

use crate::{
    capture::{Qlog, Refused},
    quic::ConnectionShutdownBehaviour,
};

/// What an operator can ask of a connection.
pub trait LiveConnection {
    /// Everything that is known of it now. The registry fills in the id.
    fn describe(&self) -> v1::Connection;
    /// The listener that it came through, once that is known.
    fn listener(&self) -> Option<Arc<str>>;
    /// The port of ours that the client came to.
    fn port(&self) -> u16;
    /// Whether it is QUIC's.
    fn is_quic(&self) -> bool {
        false
    }
    /// Whether it is being closed already.
    fn closing(&self) -> bool {
        false
    }
    /// Closes it as the behaviour says. The record names `by`.
    fn close(&self, behaviour: ConnectionShutdownBehaviour, by: v1::ClosedBy);
    /// Lets requests under way end, refuses others, and closes when idle or at `deadline`.
    fn drain(&self, deadline: Instant);
    /// Begins to write qlog, under this title.
    ///
    /// # Errors
    /// When there is none to write.
    fn capture(&self, qlog: Qlog, title: String) -> Result<(), Refused> {
        let _ = (qlog, title);
        Err(Refused::NotQuic)
    }
}

/// A slot in [`Connections`] and which use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle {
    /// Index of the slot.
    pub slot: u32,
    /// Grows with each use of the slot, so that a stale handle finds nothing.
    pub generation: u32,
}

struct Entry {
    generation: u32,
    connection: Rc<dyn LiveConnection>,
}

/// The registry. Not shared between threads.
#[derive(Default)]
pub struct Connections {
    entries: Slab<Entry>,
    /// Last generation of every slot that was ever used.
    generations: Vec<u32>,
    first_generation: u32,
}

impl Connections {
    /// An empty registry. `first_generation` should be random, so that a handle from
    /// before a restart names nothing after it.
    pub fn new(first_generation: u32) -> Self {
        Self {
            first_generation,
            ..Self::default()
        }
    }

    /// The handle that the next [`insert`](Self::insert) will return: connection IDs are
    /// needed before the connection exists.
    pub fn vacant(&self) -> Handle {
        let slot = self.entries.vacant_key();
        let next = self.generations.get(slot).map(|last| last.wrapping_add(1));
        let generation = next.unwrap_or(self.first_generation);
        Handle {
            slot: slot as u32,
            generation: generation & GENERATION_MASK,
        }
    }

    /// Adds a connection.
    pub fn insert(&mut self, connection: Rc<dyn LiveConnection>) -> Handle {
        let handle = self.vacant();
        let slot = self.entries.insert(Entry {
            generation: handle.generation,
            connection,
        });
        if slot == self.generations.len() {
            self.generations.push(handle.generation);
        } else {
            self.generations[slot] = handle.generation;
        }
        handle
    }

    /// Removes a connection, if the handle is not stale.
    pub fn remove(&mut self, handle: Handle) -> Option<Rc<dyn LiveConnection>> {
        self.at(handle)?;
        Some(self.entries.remove(handle.slot as usize).connection)
    }

    /// The connection of a handle, if it is not stale.
    pub fn at(&self, handle: Handle) -> Option<&Rc<dyn LiveConnection>> {
        self.entries
            .get(handle.slot as usize)
            .filter(|entry| entry.generation == handle.generation)
            .map(|entry| &entry.connection)
    }

    /// Every connection, in order of slot.
    pub fn iter(&self) -> impl Iterator<Item = (Handle, &Rc<dyn LiveConnection>)> {
        self.entries.iter().map(|(slot, entry)| {
            (
                Handle {
                    slot: slot as u32,
                    generation: entry.generation,
                },
                &entry.connection,
            )
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Generations have 24 bits, as in a connection ID on the wire.
const GENERATION_MASK: u32 = 0x00ff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;
    impl LiveConnection for Nothing {
        fn describe(&self) -> v1::Connection {
            v1::Connection::default()
        }
        fn listener(&self) -> Option<Arc<str>> {
            None
        }
        fn port(&self) -> u16 {
            443
        }
        fn close(&self, _: ConnectionShutdownBehaviour, _: v1::ClosedBy) {}
        fn drain(&self, _: Instant) {}
    }

    #[test]
    fn a_slot_that_is_used_again_does_not_answer_to_the_old_handle() {
        let mut connections = Connections::default();
        let expected = connections.vacant();
        let first = connections.insert(Rc::new(Nothing));
        assert_eq!(first, expected);
        assert!(connections.remove(first).is_some());
        let second = connections.insert(Rc::new(Nothing));
        assert_eq!(second.slot, first.slot);
        assert!(connections.at(first).is_none() && connections.remove(first).is_none());
        assert!(connections.at(second).is_some());
    }
}
