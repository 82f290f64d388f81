//! What the shards say of themselves, as one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tidegate_proto::v1::{DataplaneState, ListenerState};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::{Instant, interval, timeout},
};

use super::Serving;
use crate::{
    audit::Ledger,
    shard::{ShardCommand, ShardReport},
};

/// How often the shards are asked.
const PACE: Duration = Duration::from_secs(1);
/// A state goes up at least this often, and at once when more than numbers changed.
const REPEAT: Duration = Duration::from_secs(10);
/// Time that a shard has to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);

/// Asks the shards how they are. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reports {
    shards: Vec<mpsc::Sender<ShardCommand>>,
    serving: Serving,
    ledger: Arc<Ledger>,
    stir: Arc<Notify>,
    leaving: Arc<AtomicBool>,
}

/// A shard ended, or is stuck.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Silent {
    #[error("shard {0} has ended")]
    Ended(usize),
    #[error("shard {0} does not answer")]
    Stuck(usize),
}

impl Reports {
    pub(crate) fn new(
        shards: Vec<mpsc::Sender<ShardCommand>>,
        serving: Serving,
        ledger: Arc<Ledger>,
    ) -> Self {
        Self {
            shards,
            serving,
            ledger,
            stir: Arc::default(),
            leaving: Arc::default(),
        }
    }

    /// Has the shards asked again soon: an order may have changed what they say.
    pub(crate) fn stir(&self) {
        self.stir.notify_one();
    }

    /// The process ends, and its drain does not make it unready, unless it drains already:
    /// whoever balances knows that it ends, and is not to forget its flows.
    pub(crate) async fn leave(&self) {
        let drained = self.state().await.is_ok_and(|state| state.draining);
        self.leaving.store(!drained, Ordering::Relaxed);
    }

    /// The state of the whole data plane.
    ///
    /// # Errors
    /// When a shard says nothing.
    pub(crate) async fn state(&self) -> Result<DataplaneState, Silent> {
        let mut answers = Vec::new();
        for (index, shard) in self.shards.iter().enumerate() {
            let (reply, answer) = oneshot::channel();
            let command = ShardCommand::State { reply };
            match timeout(ANSWER_DEADLINE, shard.send(command)).await {
                Ok(Ok(())) => answers.push(answer),
                Ok(Err(_)) => return Err(Silent::Ended(index)),
                Err(_) => return Err(Silent::Stuck(index)),
            }
        }
        let mut reports = Vec::new();
        for (index, answer) in answers.into_iter().enumerate() {
            match timeout(ANSWER_DEADLINE, answer).await {
                Ok(Ok(report)) => reports.push(report),
                Ok(Err(_)) => return Err(Silent::Ended(index)),
                Err(_) => return Err(Silent::Stuck(index)),
            }
        }
        let serving_version = self
            .serving
            .borrow()
            .as_ref()
            .map(|serving| serving.snapshot.version.clone());
        Ok(DataplaneState {
            serving_version: serving_version.unwrap_or_default(),
            spooled_records: self.ledger.waiting(),
            dropped_records: self.ledger.dropped(),
            ..merge(reports)
        })
    }

    /// Why traffic should not come here, or nothing.
    pub(crate) async fn unready(&self) -> Option<String> {
        let Some(serving) = self.serving.borrow().clone() else {
            return Some("no snapshot is in service yet".into());
        };
        let state = match self.state().await {
            Ok(state) => state,
            Err(silent) => return Some(silent.to_string()),
        };
        if state.draining && !self.leaving.load(Ordering::Relaxed) {
            return Some("draining".into());
        }
        for listener in serving.snapshot.listeners() {
            let state = state
                .listeners
                .iter()
                .find(|state| *state.id == *listener.id);
            if !state.is_some_and(|state| state.tcp_up) {
                return Some(format!("listener {} is not up on TCP", listener.id));
            }
            if listener.http3.is_some() && !state.is_some_and(|state| state.quic_up) {
                return Some(format!("listener {} is not up on UDP", listener.id));
            }
        }
        None
    }

    /// Watches the shards for ever and publishes what is worth sending up. Ends when a
    /// shard has.
    pub(crate) async fn watch(mut self, states: watch::Sender<DataplaneState>) -> Silent {
        let mut sent_at = Instant::now();
        let mut pace = interval(PACE);
        loop {
            tokio::select! {
                _ = pace.tick() => {}
                Ok(()) = self.serving.changed() => {}
                () = self.stir.notified() => {}
            }
            match self.state().await {
                Ok(state) => states.send_if_modified(|sent| {
                    let due = sent_at.elapsed() >= REPEAT;
                    if due || !alike(sent, &state) {
                        sent_at = Instant::now();
                        *sent = state;
                        return true;
                    }
                    false
                }),
                Err(ended @ Silent::Ended(_)) => return ended,
                Err(stuck) => {
                    tracing::warn!(%stuck, "the state is unknown");
                    false
                }
            };
        }
    }
}

/// A listener is up where every shard has it up.
fn merge(reports: Vec<ShardReport>) -> DataplaneState {
    let mut merged = DataplaneState::default();
    let mut listeners = BTreeMap::<String, ListenerState>::new();
    for report in reports {
        merged.connections += report.connections;
        merged.draining |= report.draining;
        for state in report.listeners {
            match listeners.get_mut(&state.id) {
                None => {
                    listeners.insert(state.id.clone(), state);
                }
                Some(all) => {
                    all.tcp_up &= state.tcp_up;
                    all.quic_up &= state.quic_up;
                    all.draining &= state.draining;
                    all.connections += state.connections;
                    all.port = all.port.max(state.port);
                }
            }
        }
    }
    merged.listeners = listeners.into_values().collect();
    merged
}

/// True when two states differ in nothing but numbers that change all the time.
fn alike(one: &DataplaneState, other: &DataplaneState) -> bool {
    let without_numbers = |state: &DataplaneState| {
        let mut state = state.clone();
        state.connections = 0;
        state.spooled_records = 0;
        for listener in &mut state.listeners {
            listener.connections = 0;
        }
        state
    };
    without_numbers(one) == without_numbers(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(tcp_up: bool, quic_up: bool, connections: u64) -> ListenerState {
        ListenerState {
            id: "web".into(),
            tcp_up,
            quic_up,
            connections,
            ..Default::default()
        }
    }

    #[test]
    fn a_listener_is_up_where_every_shard_has_it_up() {
        let report = |listener, connections| ShardReport {
            listeners: vec![listener],
            connections,
            draining: false,
        };
        let merged = merge(vec![
            report(listener(true, true, 2), 2),
            report(listener(true, false, 3), 4),
        ]);
        assert_eq!(merged.connections, 6);
        assert_eq!(merged.listeners, [listener(true, false, 5)]);
    }

    #[test]
    fn counts_alone_are_no_change() {
        let mut one = DataplaneState {
            listeners: vec![listener(true, true, 1)],
            ..Default::default()
        };
        let mut other = one.clone();
        other.connections = 9;
        other.listeners[0].connections = 9;
        assert!(alike(&one, &other));
        one.draining = true;
        assert!(!alike(&one, &other));
    }
}
