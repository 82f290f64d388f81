//! The shard around a listener.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use tidegate_dataplane::{
    connections::{Connections, Handle, LiveConnection},
    quic::{Incoming, Metrics, endpoint::Host, metrics::NoMetrics},
};
use tidegate_proto::v1;

/// What a shard does for its connections.
#[derive(Default)]
pub(super) struct Shard {
    pub(super) connections: RefCell<Connections>,
    /// Datagrams for another shard, which nobody can make.
    pub(super) misplaced: Cell<usize>,
}

impl Host for Shard {
    fn metrics(&self) -> &dyn Metrics {
        &NoMetrics
    }

    fn vacant(&self) -> Handle {
        self.connections.borrow().vacant()
    }

    fn register(&self, connection: Rc<dyn LiveConnection>) -> Handle {
        self.connections.borrow_mut().insert(connection)
    }

    fn unregister(&self, handle: Handle) {
        let _connection = self.connections.borrow_mut().remove(handle);
    }

    fn established(&self, _: Handle, _: v1::Connection) {}

    fn hand_over(&self, _: u8, _: Incoming) -> bool {
        self.misplaced.set(self.misplaced.get() + 1);
        false
    }

    fn closed(&self, _: Handle, record: v1::Connection) {
        let audit = record.audit.expect("each record has it");
        assert!(audit.path_events.len() <= 64, "{}", audit.path_events.len());
    }
}
