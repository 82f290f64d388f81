//! Keeps the objects as they should be, while this replica leads.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt, Stream, StreamExt, future::BoxFuture, stream};
use kube::Client;
use opentelemetry::KeyValue;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use super::{
    Failures, Kind, Rendered, Settings,
    cluster::{Cluster, Failure, Seen},
    objects, own,
    plan::{self, Id, Present},
};
use crate::{
    fleet::{Fleet, Published},
    kubernetes::told,
    resources::ObjectKey,
    telemetry::Instruments,
    translate::Infrastructure,
};

/// Gateways that are worked on at a time.
const AT_ONCE: usize = 8;
/// Everything is applied again so often, in case somebody changed it.
const RESYNC: Duration = Duration::from_secs(300);
/// First wait after a failure, which doubles up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Provisions the data planes of all Gateways.
pub struct Provisioner {
    cluster: Cluster,
    fleet: Arc<Fleet>,
    instruments: Instruments,
}

/// What the task follows.
pub(crate) struct Followed {
    pub(crate) configuration: watch::Receiver<Option<Arc<Published>>>,
    /// Nothing is done before there are settings.
    pub(crate) settings: watch::Receiver<Option<Settings>>,
    /// True while this replica leads.
    pub(crate) leading: watch::Receiver<bool>,
}

impl Provisioner {
    /// For the install whose Gateways name `controller_name`.
    pub(crate) fn new(
        client: Client,
        controller_name: String,
        fleet: Arc<Fleet>,
        instruments: Instruments,
    ) -> Self {
        Self {
            cluster: Cluster {
                client,
                controller_name,
            },
            fleet,
            instruments,
        }
    }

    /// Provisions whenever this replica leads, and tells the fleet what it cannot.
    /// Returns only when what it follows is gone.
    pub(crate) async fn run(self, mut followed: Followed) -> anyhow::Error {
        let mut leading = followed.leading.clone();
        loop {
            if leading.wait_for(|leading| *leading).await.is_err() {
                return anyhow::anyhow!("nobody says who leads");
            }
            let gone = tokio::select! {
                gone = self.lead(&mut followed) => Some(gone),
                _ = leading.wait_for(|leading| !leading) => None,
            };
            // Another replica has the say.
            self.fleet.not_provisioned(Failures::new());
            if let Some(gone) = gone {
                return gone;
            }
        }
    }

    async fn lead(&self, followed: &mut Followed) -> anyhow::Error {
        let mut events = self.cluster.watch();
        let mut state = State::default();
        state.follow(followed);
        loop {
            if state.is_synced() {
                self.round(&mut state).await;
                let failing = state.failing();
                self.instruments
                    .provision_failing
                    .record(failing.len() as u64, &[]);
                self.fleet.not_provisioned(failing);
            }
            let next = state.next();
            tokio::select! {
                Some(seen) = events.next() => {
                    state.see(seen);
                    drain(&mut events, &mut state).await;
                }
                changed = followed.configuration.changed() => if changed.is_err() {
                    return anyhow::anyhow!("the configuration is gone");
                },
                changed = followed.settings.changed() => if changed.is_err() {
                    return anyhow::anyhow!("the settings of data planes are gone");
                },
                () = sleep_until(next) => {}
            }
            state.follow(followed);
        }
    }

    /// Does what is due, once.
    async fn round(&self, state: &mut State) {
        let now = Instant::now();
        let anew = now >= state.resync_at;
        if anew {
            state.resync_at = now + RESYNC;
        }
        if anew || std::mem::take(&mut state.is_unsettled) {
            self.settle(state).await;
        }
        if anew || std::mem::take(&mut state.look_for_orphans) {
            self.release(state).await;
        }
        let due: Vec<_> = plan::work(&state.wanted, &state.present, anew)
            .into_iter()
            .filter(|(gateway, _)| {
                let retry = state.retries.get(gateway);
                retry.is_none_or(|retry| retry.at <= now)
            })
            .collect();
        let known = &state.present;
        let under_way: Vec<BoxFuture<'_, _>> = due
            .into_iter()
            .map(|(gateway, work)| {
                async move {
                    let outcome = self.bring_about(&gateway, work, known).await;
                    (gateway, outcome)
                }
                .boxed()
            })
            .collect();
        let outcomes: Vec<_> = stream::iter(under_way)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (gateway, outcome) in outcomes {
            state.record(gateway, outcome);
        }
    }

    /// Objects depend on those before: the first failure ends it.
    async fn bring_about(
        &self,
        gateway: &ObjectKey,
        work: plan::Work<'_>,
        known: &BTreeMap<Id, Present>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        for object in work.apply {
            let id = Id::of(object);
            let ours = known
                .get(&id)
                .is_some_and(|found| found.gateway == gateway.name);
            // One of another Gateway of ours is as much in the way as anybody's.
            let applied = match known.get(&id) {
                Some(_) if !ours => Err(Failure::Taken {
                    what: format!("{} {}", id.kind.name(), id.key),
                    kind: id.kind.name(),
                }),
                found => self.cluster.apply(object, found.is_some()).await,
            };
            self.count("apply", id.kind, &applied);
            match applied {
                Ok(present) => outcome.applied.push((id, present)),
                Err(failure) => {
                    outcome.failure = Some(failure);
                    return outcome;
                }
            }
        }
        for (id, uid) in work.delete {
            let deleted = self.cluster.delete(&id, &uid).await;
            self.count("delete", id.kind, &deleted);
            match deleted {
                Ok(()) => outcome.deleted.push(id),
                Err(failure) => {
                    outcome.failure = Some(failure);
                    return outcome;
                }
            }
        }
        outcome
    }

    /// Another try comes with the next look at everything.
    async fn settle(&self, state: &State) {
        let Some(settings) = &state.settings else {
            return;
        };
        if let Some(own) = &settings.own {
            let settled = own::settle(&self.cluster.client, own, &settings.ca_bundle).await;
            if let Err(error) = settled {
                warn!(error = %told(&error), "the control plane's own objects have no owner");
            }
        }
    }

    /// Removes what belongs to Gateways that have gone to another class.
    async fn release(&self, state: &mut State) {
        for gateway in plan::orphans(&state.wanted, &state.present) {
            let class = match self.cluster.class_of(&gateway).await {
                Ok(Some(class)) => class,
                // The cluster collects what it owned.
                Ok(None) => continue,
                Err(error) => {
                    warn!(%gateway, %error, "cannot see whether its data planes are still needed");
                    continue;
                }
            };
            for (id, uid) in plan::abandoned(&gateway, &class, &state.present) {
                let deleted = self.cluster.delete(&id, &uid).await;
                self.count("delete", id.kind, &deleted);
                match deleted {
                    Ok(()) => {
                        info!(%gateway, kind = id.kind.name(), name = %id.key, "released");
                        state.present.remove(&id);
                    }
                    Err(error) => warn!(%gateway, %error, "cannot be released"),
                }
            }
        }
    }

    fn count<T>(&self, action: &'static str, kind: Kind, outcome: &Result<T, Failure>) {
        let outcome = if outcome.is_ok() { "done" } else { "failed" };
        self.instruments.provision_requests.add(
            1,
            &[
                KeyValue::new("action", action),
                KeyValue::new("kind", kind.name()),
                KeyValue::new("outcome", outcome),
            ],
        );
    }
}

/// Takes what has been seen already, so that one round answers all of it.
async fn drain(events: &mut (impl Stream<Item = Seen> + Unpin), state: &mut State) {
    while let Some(Some(seen)) = futures_util::future::poll_immediate(events.next()).await {
        state.see(seen);
    }
}

#[derive(Default)]
struct Outcome {
    applied: Vec<(Id, Present)>,
    deleted: Vec<Id>,
    failure: Option<Failure>,
}

struct Retry {
    at: Instant,
    wait: Duration,
    why: String,
}

/// What is known while this replica leads.
struct State {
    synced: BTreeSet<Kind>,
    is_configured: bool,
    present: BTreeMap<Id, Present>,
    infrastructures: BTreeMap<ObjectKey, Infrastructure>,
    settings: Option<Settings>,
    wanted: BTreeMap<ObjectKey, Vec<Rendered>>,
    retries: BTreeMap<ObjectKey, Retry>,
    look_for_orphans: bool,
    /// The control plane's own objects are to be looked at.
    is_unsettled: bool,
    resync_at: Instant,
}

impl Default for State {
    fn default() -> Self {
        Self {
            synced: BTreeSet::new(),
            is_configured: false,
            present: BTreeMap::new(),
            infrastructures: BTreeMap::new(),
            settings: None,
            wanted: BTreeMap::new(),
            retries: BTreeMap::new(),
            look_for_orphans: true,
            is_unsettled: true,
            // What the leader before applied is not applied again at once.
            resync_at: Instant::now() + RESYNC,
        }
    }
}

impl State {
    /// Nothing is done before it is known what there is and what there should be.
    fn is_synced(&self) -> bool {
        self.is_configured && self.synced.len() == Kind::ALL.len()
    }

    /// Renders anew what has changed.
    fn follow(&mut self, followed: &mut Followed) {
        let settings = followed.settings.borrow_and_update().clone();
        let all = settings != self.settings;
        if all {
            self.settings = settings;
            self.is_unsettled = true;
            self.wanted.clear();
        }
        let published = followed.configuration.borrow_and_update().clone();
        let (Some(published), Some(settings)) = (published, &self.settings) else {
            return;
        };
        let infrastructures = &published.translation.infrastructures;
        if !all && self.is_configured && *infrastructures == self.infrastructures {
            return;
        }
        self.look_for_orphans = true;
        self.wanted
            .retain(|key, _| infrastructures.contains_key(key));
        self.retries
            .retain(|key, _| infrastructures.contains_key(key));
        for (key, infrastructure) in infrastructures {
            if all || self.infrastructures.get(key) != Some(infrastructure) {
                self.wanted
                    .insert(key.clone(), objects(infrastructure, settings));
                self.retries.remove(key);
            }
        }
        self.infrastructures.clone_from(infrastructures);
        self.is_configured = true;
    }

    fn see(&mut self, seen: Seen) {
        match seen {
            Seen::All(kind, all) => {
                self.present.retain(|id, _| id.kind != kind);
                self.present.extend(
                    all.into_iter()
                        .map(|(key, found)| (Id { kind, key }, found)),
                );
                self.synced.insert(kind);
            }
            Seen::Changed(id, found) => {
                self.present.insert(id, found);
            }
            Seen::Gone(id, uid) => {
                // Not the one that has taken its place.
                if self.present.get(&id).is_some_and(|found| found.uid == uid) {
                    self.present.remove(&id);
                }
            }
        }
    }

    fn record(&mut self, gateway: ObjectKey, outcome: Outcome) {
        let changed = outcome.applied.len() + outcome.deleted.len();
        for (id, found) in outcome.applied {
            self.present.insert(id, found);
        }
        for id in outcome.deleted {
            self.present.remove(&id);
        }
        let Some(failure) = outcome.failure else {
            self.retries.remove(&gateway);
            info!(%gateway, objects = changed, "provisioned");
            return;
        };
        let wait = self
            .retries
            .get(&gateway)
            .map_or(FIRST_RETRY, |before| (before.wait * 2).min(LONGEST_RETRY));
        warn!(%gateway, error = %failure, retry_in = ?wait, "cannot be provisioned");
        let retry = Retry {
            at: Instant::now() + wait,
            wait,
            why: failure.to_string(),
        };
        self.retries.insert(gateway, retry);
    }

    fn failing(&self) -> Failures {
        self.retries
            .iter()
            .map(|(gateway, retry)| (gateway.clone(), retry.why.clone()))
            .collect()
    }

    /// When there is something to do even if nothing happens.
    fn next(&self) -> Instant {
        let retries = self.retries.values().map(|retry| retry.at);
        retries.fold(self.resync_at, Instant::min)
    }
}
