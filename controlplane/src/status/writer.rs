//! Statuses, written to the API server by the replica that leads.
//!
//! Owned here: that what the API server has becomes what [`crate::translate`] and the
//! dataplanes say, with as few writes as that takes. What is different is [`merge`]'s,
//! which is pure. A write names the version that was compared, so that nothing that
//! others write meanwhile is lost; whoever was too late compares again. Never here: a
//! judgement.

mod merge;
mod write;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use anyhow::anyhow;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use opentelemetry::KeyValue;
use serde_json::Value;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use self::write::{Outcome, write};
use super::{ObjectStatus, Observed, ObservedStatuses, Place};
use crate::{fleet::Fleet, telemetry::Instruments};

/// Changes that come together are written together.
const GATHER: Duration = Duration::from_millis(20);
/// How long dataplanes are waited for, so that `Programmed` does not go off and on with
/// every change.
const ANSWERS: Duration = Duration::from_millis(750);
const WRITES_AT_ONCE: usize = 8;
/// After a write that failed; doubled with each.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// Writes statuses while this replica leads.
pub(crate) struct Writer {
    client: Client,
    controller: String,
    observed: Arc<ObservedStatuses>,
    fleet: Arc<Fleet>,
    leads: watch::Receiver<bool>,
    instruments: Instruments,
    /// Objects that a write failed of, with when to try again.
    waiting: HashMap<Place, (Instant, Duration)>,
    /// What the API server made of a write, where that is not what was asked for: to ask
    /// again would change nothing.
    settled: HashMap<Place, Settled>,
}

struct Settled {
    asked: Value,
    has: Value,
}

impl Writer {
    pub(crate) fn new(
        client: Client,
        controller: String,
        observed: Arc<ObservedStatuses>,
        fleet: Arc<Fleet>,
        leads: watch::Receiver<bool>,
        instruments: Instruments,
    ) -> Self {
        Self {
            client,
            controller,
            observed,
            fleet,
            leads,
            instruments,
            waiting: HashMap::new(),
            settled: HashMap::new(),
        }
    }

    /// Writes for ever.
    pub(crate) async fn run(mut self) -> anyhow::Error {
        let mut configurations = self.fleet.configurations();
        let mut answers = self.fleet.answering();
        let mut seen = self.observed.changes();
        loop {
            if self.leads.wait_for(|leads| *leads).await.is_err() {
                return anyhow!("nobody leads any more");
            }
            configurations.borrow_and_update();
            answers.borrow_and_update();
            seen.borrow_and_update();
            let retry = self.pass().await;
            let ended = || anyhow!("statuses are not written any more");
            tokio::select! {
                changed = configurations.changed() => {
                    if changed.is_err() {
                        return ended();
                    }
                    self.await_answers(&mut answers).await;
                }
                _ = answers.changed() => {}
                _ = seen.changed() => {}
                _ = self.leads.changed() => {}
                () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {}
            }
            sleep(GATHER).await;
        }
    }

    async fn await_answers(&self, answers: &mut watch::Receiver<u64>) {
        let deadline = Instant::now() + ANSWERS;
        while !self.fleet.has_answered() {
            match timeout_at(deadline, answers.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    /// Writes whatever is different. Returns when to try what failed again.
    async fn pass(&mut self) -> Option<Instant> {
        let published = self.fleet.configuration()?;
        let statuses = published.statuses(&self.fleet);
        let mut desired = BTreeMap::<Place, Vec<&ObjectStatus>>::new();
        for status in &statuses {
            desired
                .entry((status.kind, status.key.clone()))
                .or_default()
                .push(status);
        }
        let now = Instant::now();
        let time = Timestamp::now();
        let mut writes = Vec::new();
        self.waiting
            .retain(|place, _| self.observed.with(|all| all.contains_key(place)));
        self.settled
            .retain(|place, _| self.observed.with(|all| all.contains_key(place)));
        self.observed.with(|all| {
            for (place, observed) in all {
                if self
                    .waiting
                    .get(place)
                    .is_some_and(|(until, _)| *until > now)
                {
                    continue;
                }
                let desired = desired.get(place).map_or(&[][..], Vec::as_slice);
                let Some(status) = merge::patch(place.0, observed, desired, &self.controller, time)
                else {
                    continue;
                };
                let pointless = |settled: &Settled| {
                    settled.has == observed.status && merge::same(&settled.asked, &status)
                };
                if !self.settled.get(place).is_some_and(pointless) {
                    writes.push((place.clone(), observed.clone(), status));
                }
            }
        });
        self.write_all(writes).await;
        self.waiting
            .values()
            .map(|(until, _)| *until)
            .filter(|until| *until > now)
            .min()
    }

    async fn write_all(&mut self, writes: Vec<(Place, Observed, Value)>) {
        let mut writes = writes.into_iter();
        let mut running = JoinSet::new();
        loop {
            while running.len() < WRITES_AT_ONCE
                && *self.leads.borrow()
                && let Some((place, observed, status)) = writes.next()
            {
                let client = self.client.clone();
                running.spawn(async move {
                    let outcome = write(client, &place, &observed, &status).await;
                    (place, status, outcome)
                });
            }
            let Some(done) = running.join_next().await else {
                return;
            };
            if let Ok((place, status, outcome)) = done {
                self.done(place, status, outcome);
            }
        }
    }

    fn done(&mut self, place: Place, asked: Value, outcome: Outcome) {
        let labels = [
            KeyValue::new("kind", place.0),
            KeyValue::new("outcome", outcome.label()),
        ];
        self.instruments.status_writes.add(1, &labels);
        match outcome {
            Outcome::Written(observed) => {
                self.waiting.remove(&place);
                let taken = merge::took(&observed.status, &asked);
                if taken {
                    self.settled.remove(&place);
                } else {
                    let has = observed.status.clone();
                    self.settled.insert(place.clone(), Settled { asked, has });
                }
                self.observed.saw(place, observed);
            }
            Outcome::Gone => {
                self.waiting.remove(&place);
            }
            Outcome::Conflict | Outcome::Failed => {
                let before = self.waiting.get(&place).map(|(_, backoff)| *backoff);
                let backoff =
                    before.map_or(FIRST_BACKOFF, |before| (before * 2).min(LONGEST_BACKOFF));
                self.waiting
                    .insert(place, (Instant::now() + backoff, backoff));
            }
        }
    }
}

#[cfg(test)]
mod tests;
