//! Handshakes and closes as they pass, for whoever watches.
//!
//! A bounded ring that all watchers read at their own pace. One that falls behind is
//! told how many events it missed, and what it missed is counted.

use std::sync::Arc;

use tidegate_proto::v1::{self, record::Kind};
use tokio::sync::{
    broadcast::{self, error::RecvError},
    watch,
};

use crate::telemetry::Instruments;

/// Events that a watcher may lag behind: some seconds of a busy fleet.
const CAPACITY: usize = 4096;

pub(super) struct Events {
    sender: broadcast::Sender<Arc<v1::Event>>,
    instruments: Instruments,
}

/// The events from one moment on.
pub(crate) struct EventStream {
    receiver: broadcast::Receiver<Arc<v1::Event>>,
    stopping: watch::Receiver<bool>,
    instruments: Instruments,
}

/// What a watcher sees next.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    /// An event.
    Event(Arc<v1::Event>),
    /// So many events were missed.
    Lost(u64),
}

impl Events {
    pub(super) fn new(instruments: Instruments) -> Self {
        Self {
            sender: broadcast::Sender::new(CAPACITY),
            instruments,
        }
    }

    /// Shows a record to everyone who watches. Nobody need.
    pub(super) fn show(&self, record: v1::Record) {
        let (kind, connection) = match record.kind {
            Some(Kind::Established(connection)) => ("established", connection),
            Some(Kind::Closed(connection)) => ("closed", connection),
            None => return,
        };
        let event = v1::Event {
            kind: kind.into(),
            connection: Some(connection),
            lost: 0,
        };
        // An error says that nobody watches.
        let _ = self.sender.send(Arc::new(event));
    }

    pub(super) fn subscribe(&self, stopping: watch::Receiver<bool>) -> EventStream {
        let receiver = self.sender.subscribe();
        EventStream {
            receiver,
            stopping,
            instruments: self.instruments.clone(),
        }
    }
}

impl EventStream {
    /// Waits for the next event. `None` when the control plane stops.
    pub(crate) async fn next(&mut self) -> Option<Seen> {
        tokio::select! {
            _ = self.stopping.wait_for(|stopping| *stopping) => None,
            received = self.receiver.recv() => match received {
                Ok(event) => Some(Seen::Event(event)),
                Err(RecvError::Lagged(lost)) => {
                    self.instruments.events_lost.add(lost, &[]);
                    Some(Seen::Lost(lost))
                }
                Err(RecvError::Closed) => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Telemetry;

    fn closed(number: usize) -> v1::Record {
        let connection = v1::Connection {
            id: number.to_string(),
            ..Default::default()
        };
        v1::Record {
            sequence: 0,
            kind: Some(Kind::Closed(connection)),
        }
    }

    #[tokio::test]
    async fn a_watcher_that_lags_is_told_how_much_it_lost() {
        let telemetry = Telemetry::new(None).unwrap();
        let events = Events::new(telemetry.instruments());
        let stopping = watch::Sender::new(false);
        let mut slow = events.subscribe(stopping.subscribe());
        for number in 0..CAPACITY + 3 {
            events.show(closed(number));
        }
        assert_eq!(slow.next().await, Some(Seen::Lost(3)));
        let Some(Seen::Event(next)) = slow.next().await else {
            panic!("an event follows")
        };
        assert_eq!(next.connection.as_ref().unwrap().id, "3");
        assert!(
            telemetry
                .prometheus_text()
                .contains("tidegate_controlplane_events_lost_total 3")
        );
    }

    #[tokio::test]
    async fn a_watcher_ends_with_the_control_plane() {
        let events = Events::new(Telemetry::new(None).unwrap().instruments());
        let stopping = watch::Sender::new(false);
        let mut watcher = events.subscribe(stopping.subscribe());
        stopping.send_replace(true);
        assert_eq!(watcher.next().await, None);
    }
}
