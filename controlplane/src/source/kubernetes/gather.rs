//! From changes to published resources: one task, which owns the inventory.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kube::{Api, Client, core::DynamicObject};
use opentelemetry::KeyValue;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::{info, warn};

use super::{
    Settings,
    inventory::{Change, Inventory},
    kind::{KINDS, Kind},
    read::{Read, read},
    references::Reference,
};
use crate::{kubernetes::told, resources::ObjectKey, source::Sourced, telemetry::Instruments};

/// Changes that come together are published together: until nothing has come for so long,
const QUIET: Duration = Duration::from_millis(50);
/// and at the latest after this.
const LONGEST_WINDOW: Duration = Duration::from_millis(250);
/// How long what is referred to is waited for, so that an object and the Secret that it
/// names, applied together, are published together.
const FETCH_PATIENCE: Duration = Duration::from_secs(2);
const FETCHES_AT_ONCE: usize = 16;
const FETCH_RETRY: Duration = Duration::from_secs(5);
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two remarks on what the start waits for.
const REMARK: Duration = Duration::from_secs(10);

pub(super) struct Gatherer {
    client: Client,
    settings: Settings,
    inventory: Inventory,
    instruments: Instruments,
    /// What is being fetched, and whether it changed since.
    in_flight: BTreeMap<Reference, bool>,
    /// What could not be fetched, and is tried again.
    failed: BTreeMap<Reference, Failure>,
    /// The first and the last change that is not published.
    unpublished: Option<(Instant, Instant)>,
    started: bool,
}

/// Why something could not be fetched.
enum Failure {
    /// The API server gave no answer.
    Unanswered,
    /// It was an answer, and is not likely to be another one soon.
    Refused,
}

struct Fetched {
    kind: &'static Kind,
    key: ObjectKey,
    outcome: Result<Option<Read>, Failure>,
}

enum Work {
    Fetched(Box<Fetched>),
    TryAgain(Reference),
}

impl Gatherer {
    pub(super) fn new(
        client: Client,
        settings: Settings,
        inventory: Inventory,
        instruments: Instruments,
    ) -> Self {
        Self {
            client,
            settings,
            inventory,
            instruments,
            in_flight: BTreeMap::new(),
            failed: BTreeMap::new(),
            unpublished: None,
            started: false,
        }
    }

    /// Until nobody listens, or no watch is left.
    pub(super) async fn run(
        mut self,
        mut changes: mpsc::Receiver<Change>,
        sender: watch::Sender<Option<Arc<Sourced>>>,
    ) {
        let mut work = JoinSet::new();
        let mut remark = Instant::now() + REMARK;
        loop {
            let due = self.due();
            tokio::select! {
                () = sender.closed() => return,
                change = changes.recv() => match change {
                    Some(change) => self.inventory.apply(change),
                    None => return,
                },
                Some(done) = work.join_next() => match done {
                    Ok(Work::Fetched(fetched)) => self.take(*fetched, &mut work),
                    Ok(Work::TryAgain(reference)) => self.inventory.read_again(reference),
                    Err(_) => {}
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.publish(&sender);
                    continue;
                }
                () = sleep_until(remark), if !self.started => {
                    self.remark();
                    remark += REMARK;
                    continue;
                }
            }
            if self.inventory.has_changed() {
                let now = Instant::now();
                let first = self.unpublished.map_or(now, |(first, _)| first);
                self.unpublished = Some((first, now));
            }
            self.fetch(&mut work);
        }
    }

    /// When to publish, as far as is known now.
    fn due(&self) -> Option<Instant> {
        let (first, last) = self.unpublished?;
        if !self.inventory.is_complete() {
            return None;
        }
        let unanswered = |failure: &Failure| matches!(failure, Failure::Unanswered);
        if !self.started && (!self.in_flight.is_empty() || self.failed.values().any(unanswered)) {
            return None;
        }
        if !self.in_flight.is_empty() {
            return Some(first + FETCH_PATIENCE);
        }
        Some((last + QUIET).min(first + LONGEST_WINDOW))
    }

    fn publish(&mut self, sender: &watch::Sender<Option<Arc<Sourced>>>) {
        self.unpublished = None;
        let sourced = self.inventory.take();
        for kind in &KINDS {
            let count = self.inventory.count(kind.name) as u64;
            let label = [KeyValue::new("kind", kind.name)];
            self.instruments.source_objects.record(count, &label);
        }
        if !std::mem::replace(&mut self.started, true) {
            info!(resources = ?sourced.resources, "read what the API server has");
        }
        sender.send_replace(Some(Arc::new(sourced)));
    }

    fn remark(&self) {
        let kinds: BTreeSet<_> = self.inventory.awaited().collect();
        let kinds: Vec<_> = kinds.into_iter().collect();
        let fetches: Vec<_> = self
            .in_flight
            .keys()
            .chain(self.failed.keys())
            .map(named)
            .collect();
        warn!(
            kinds = kinds.join(", "),
            objects = fetches.join(", "),
            "nothing is published before these are read"
        );
    }

    /// Begins to read what is referred to, some at a time.
    fn fetch(&mut self, work: &mut JoinSet<Work>) {
        while self.in_flight.len() < FETCHES_AT_ONCE
            && let Some((name, key)) = self.inventory.next_unread()
        {
            let Some(kind) = Kind::named(name) else {
                continue;
            };
            if !self.settings.watches(&key.namespace) {
                continue;
            }
            let reference = (kind.name, key.clone());
            if let Some(again) = self.in_flight.get_mut(&reference) {
                *again = true;
                continue;
            }
            self.in_flight.insert(reference, false);
            let client = self.client.clone();
            work.spawn(async move { Work::Fetched(Box::new(fetched(client, kind, key).await)) });
        }
    }

    fn take(&mut self, fetched: Fetched, work: &mut JoinSet<Work>) {
        let Fetched { kind, key, outcome } = fetched;
        let reference = (kind.name, key.clone());
        let again = self.in_flight.remove(&reference).unwrap_or_default();
        match outcome {
            Ok(read) => {
                self.failed.remove(&reference);
                self.inventory.fetched(kind, key, read);
                if again {
                    self.inventory.read_again(reference);
                }
            }
            // What was read before serves on.
            Err(failure) => {
                self.failed.insert(reference.clone(), failure);
                work.spawn(async move {
                    sleep(FETCH_RETRY).await;
                    Work::TryAgain(reference)
                });
            }
        }
    }
}

async fn fetched(client: Client, kind: &'static Kind, key: ObjectKey) -> Fetched {
    let resource = kind.resource(kind.versions.first().copied().unwrap_or_default());
    let api: Api<DynamicObject> = Api::namespaced_with(client, &key.namespace, &resource);
    let outcome = match timeout(FETCH_TIMEOUT, api.get_opt(&key.name)).await {
        Ok(Ok(object)) => Ok(object.map(|object| read(kind, object))),
        Ok(Err(error)) => {
            warn!(kind = kind.name, object = %key, error = told(&error),
                "cannot read; what is known serves on, and it is tried again");
            match error {
                kube::Error::Api(status) if status.code < 500 => Err(Failure::Refused),
                _ => Err(Failure::Unanswered),
            }
        }
        Err(_) => Err(Failure::Unanswered),
    };
    Fetched { kind, key, outcome }
}

fn named((kind, key): &Reference) -> String {
    format!("{kind} {key}")
}
