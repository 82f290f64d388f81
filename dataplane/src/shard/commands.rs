//! Questions and orders of operators, executed between turns of the connections.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_proto::v1::{self, ClosedBy};

use super::{
    Shard, ShardCommand, ShardReport,
    edges::{answer, handle},
    selector::Selection,
};
use crate::{
    capture::{Qlog, Refused},
    connections::{Handle, LiveConnection},
    quic::ConnectionShutdownBehaviour,
};

impl Shard {
    pub(super) fn execute(&self, command: ShardCommand) {
        match command {
            ShardCommand::List {
                selector,
                after,
                limit,
                reply,
            } => {
                answer(reply, self.list(selector, after, limit));
            }
            ShardCommand::Show {
                slot,
                generation,
                reply,
            } => {
                answer(reply, self.show(handle(slot, generation)));
            }
            ShardCommand::Close {
                slot,
                generation,
                behaviour,
                reply,
            } => {
                answer(reply, self.close(handle(slot, generation), behaviour));
            }
            ShardCommand::CloseSelected {
                selector,
                behaviour,
                reply,
            } => {
                answer(reply, self.close_selected(selector, &behaviour));
            }
            ShardCommand::Capture {
                slot,
                generation,
                qlog,
                reply,
            } => {
                answer(reply, self.capture(handle(slot, generation), qlog));
            }
            ShardCommand::Arm { armed, reply } => {
                self.arms.add(armed);
                answer(reply, ());
            }
            ShardCommand::Drain {
                listener,
                deadline,
                reply,
            } => {
                self.drain(listener, deadline);
                answer(reply, ());
            }
            ShardCommand::Undrain { listener, reply } => {
                self.undrain(listener.as_deref());
                answer(reply, ());
            }
            ShardCommand::State { reply } => answer(reply, self.report()),
            ShardCommand::Stop => unreachable!("the shard's loop ends with it"),
        }
    }

    fn describe(&self, handle: Handle, connection: &dyn LiveConnection) -> v1::Connection {
        let mut facts = connection.describe();
        facts.id = self.connection_id(handle);
        facts
    }

    fn list(
        &self,
        selector: v1::Selector,
        after: Option<(u32, u32)>,
        limit: usize,
    ) -> Result<Vec<v1::Connection>, String> {
        let selection = Selection::new(selector)?;
        let connections = self.connections.borrow();
        Ok(connections
            .iter()
            .filter(|(handle, _)| after.is_none_or(|(slot, _)| handle.slot > slot))
            .filter(|(_, connection)| !connection.closing())
            .map(|(handle, connection)| self.describe(handle, &**connection))
            .filter(|facts| selection.chooses(facts))
            .take(limit)
            .collect())
    }

    fn show(&self, handle: Handle) -> Option<v1::Connection> {
        let connections = self.connections.borrow();
        connections
            .at(handle)
            .map(|connection| self.describe(handle, &**connection))
    }

    fn close(&self, handle: Handle, behaviour: ConnectionShutdownBehaviour) -> bool {
        let connections = self.connections.borrow();
        let Some(connection) = connections
            .at(handle)
            .filter(|connection| !connection.closing())
        else {
            return false;
        };
        connection.close(behaviour, ClosedBy::Command);
        true
    }

    fn capture(&self, handle: Handle, qlog: Qlog) -> Result<(), Refused> {
        let connections = self.connections.borrow();
        let connection = connections.at(handle).ok_or(Refused::Gone)?;
        connection.capture(qlog, self.connection_id(handle))
    }

    fn close_selected(
        &self,
        selector: v1::Selector,
        behaviour: &ConnectionShutdownBehaviour,
    ) -> Result<u64, String> {
        let selection = Selection::new(selector)?;
        let connections = self.connections.borrow();
        let chosen = connections
            .iter()
            .filter(|(_, connection)| !connection.closing())
            .filter(|(_, connection)| selection.chooses(&connection.describe()));
        let mut count = 0;
        for (_, connection) in chosen {
            connection.close(behaviour.clone(), ClosedBy::Command);
            count += 1;
        }
        Ok(count)
    }

    fn drain(&self, listener: Option<String>, limit: Duration) {
        let deadline = Instant::now() + limit;
        for (_, connection) in self.connections.borrow().iter() {
            if listener.is_none() || connection.listener().as_deref() == listener.as_deref() {
                connection.drain(deadline);
            }
        }
        let mut drains = self.drains.borrow_mut();
        match listener {
            Some(id) => drop(drains.listeners.insert(id, limit)),
            None => drains.all = Some(limit),
        }
    }

    fn undrain(&self, listener: Option<&str>) {
        let mut drains = self.drains.borrow_mut();
        match listener {
            Some(id) => drop(drains.listeners.remove(id)),
            None => drains.all = None,
        }
    }

    fn report(&self) -> ShardReport {
        let configuration = self.configuration();
        let connections = self.connections.borrow();
        let bound = self.bound.borrow();
        let drains = self.drains.borrow();
        let mut counts: HashMap<Arc<str>, u64> = HashMap::new();
        for id in connections.iter().filter_map(|(_, one)| one.listener()) {
            *counts.entry(id).or_default() += 1;
        }
        let mut listeners = Vec::new();
        for binding in &configuration.snapshot.bindings {
            let bound = bound.get(&binding.key);
            for listener in &binding.listeners {
                listeners.push(v1::ListenerState {
                    id: listener.id.to_string(),
                    tcp_up: bound.is_some(),
                    quic_up: listener.http3.is_some() && bound.is_some_and(|it| it.quic_up()),
                    draining: drains.all.is_some() || drains.listeners.contains_key(&*listener.id),
                    connections: counts.get(&listener.id).copied().unwrap_or_default(),
                    port: binding.key.port.into(),
                });
            }
        }
        ShardReport {
            listeners,
            connections: connections.len() as u64,
            draining: drains.all.is_some(),
        }
    }
}
