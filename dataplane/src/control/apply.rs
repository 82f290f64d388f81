//! The one place that gives configurations to the shards.
//!
//! A snapshot is served whole or not at all: it is parsed, given to every shard, and
//! acknowledged when all of them serve it. If it cannot be parsed, or a shard cannot
//! serve it, the last good one stays, or comes back.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tidegate_proto::v1::{self, Rejection};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};

use super::{Cache, Serving, addresses::Addresses, at};
use crate::{
    metrics::ControlMetrics,
    shard::Applied,
    snapshot::{Configuration, Snapshot},
};

/// Time that shards have to serve a configuration.
const APPLY_DEADLINE: Duration = Duration::from_secs(10);
/// A snapshot waits this long for the addresses of backends that are new, so that no
/// request meets a backend without any.
const ENDPOINTS_DEADLINE: Duration = Duration::from_millis(250);
/// Time that a control plane has to answer before the cached configuration is served.
const CACHE_DELAY: Duration = Duration::from_secs(2);
/// Changes of addresses are written to the cache together, this long after the first.
const CACHE_PACE: Duration = Duration::from_secs(5);
/// Most changes of addresses that are given to the shards at once.
const ENDPOINTS_AT_ONCE: usize = 256;

/// What came through a session.
#[derive(Debug)]
pub(crate) enum Change {
    /// A whole configuration. The reply comes when it is served or refused.
    Snapshot(v1::Snapshot, oneshot::Sender<Result<(), Vec<Rejection>>>),
    /// The addresses of one backend.
    Endpoints(v1::Endpoints),
}

/// What became of a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) version: String,
    pub(crate) outcome: Result<(), Vec<Rejection>>,
}

/// The verdict on the snapshot that was tried last.
pub(crate) type Verdicts = watch::Receiver<Option<Verdict>>;

/// Owns the configuration.
pub(crate) struct Applier {
    changes: mpsc::Receiver<Change>,
    /// A change that was read while a snapshot waited.
    next: Option<Change>,
    shards: usize,
    to_shards: watch::Sender<Option<Arc<Configuration>>>,
    applied: mpsc::Receiver<Applied>,
    serving: watch::Sender<Option<Arc<Configuration>>>,
    verdicts: watch::Sender<Option<Verdict>>,
    source: Option<v1::Snapshot>,
    addresses: Addresses,
    cache: Option<Cache>,
    /// When the cached configuration is due, if nothing else is served until then.
    cache_due: Option<Instant>,
    /// When addresses that have changed are to be stored.
    store_due: Option<Instant>,
    metrics: Arc<ControlMetrics>,
}

impl Applier {
    /// `to_shards` is what the shards watch, `applied` what they say to it.
    pub(crate) fn new(
        changes: mpsc::Receiver<Change>,
        shards: usize,
        to_shards: watch::Sender<Option<Arc<Configuration>>>,
        applied: mpsc::Receiver<Applied>,
        cache: Option<Cache>,
        metrics: Arc<ControlMetrics>,
    ) -> Self {
        Self {
            changes,
            next: None,
            shards,
            to_shards,
            applied,
            serving: watch::Sender::new(None),
            verdicts: watch::Sender::new(None),
            source: None,
            addresses: Addresses::default(),
            cache_due: cache.is_some().then(|| Instant::now() + CACHE_DELAY),
            cache,
            store_due: None,
            metrics,
        }
    }

    /// What every shard serves.
    pub(crate) fn serving(&self) -> Serving {
        self.serving.subscribe()
    }

    /// What every replica is to be told.
    pub(crate) fn verdicts(&self) -> Verdicts {
        self.verdicts.subscribe()
    }

    /// Serves the cached configuration at once: nobody will send another.
    pub(crate) fn expect_nobody(&mut self) {
        self.cache_due = self.cache_due.map(|_| Instant::now());
    }

    /// Applies changes until nobody can send any more.
    pub(crate) async fn run(mut self) {
        loop {
            let change = match self.next.take() {
                Some(change) => Some(change),
                None => tokio::select! {
                    change = self.changes.recv() => change,
                    _ = at(self.cache_due) => {
                        self.serve_cached().await;
                        continue;
                    }
                    _ = at(self.store_due) => {
                        self.store().await;
                        continue;
                    }
                    Some(applied) = self.applied.recv() => {
                        report_stray(&applied);
                        continue;
                    }
                },
            };
            match change {
                None => return,
                Some(Change::Endpoints(endpoints)) => self.replace_endpoints(endpoints),
                Some(Change::Snapshot(snapshot, reply)) => {
                    let version = snapshot.version.clone();
                    let outcome = self.serve(snapshot).await;
                    let served = match &outcome {
                        Ok(Outcome::Unchanged) => {
                            self.metrics.snapshot("unchanged");
                            false
                        }
                        Ok(Outcome::Served) => {
                            tracing::info!(%version, "snapshot in service");
                            self.metrics.snapshot("acked");
                            true
                        }
                        Err(rejections) => {
                            report_refusal(&version, rejections);
                            self.metrics.snapshot("nacked");
                            false
                        }
                    };
                    let outcome = outcome.map(drop);
                    self.verdicts.send_replace(Some(Verdict {
                        version,
                        outcome: outcome.clone(),
                    }));
                    // The session may be gone; its next one learns it from the Hello.
                    let _ = reply.send(outcome);
                    if served {
                        self.store().await;
                    }
                }
            }
        }
    }

    async fn serve(&mut self, source: v1::Snapshot) -> Result<Outcome, Vec<Rejection>> {
        if self
            .source
            .as_ref()
            .is_some_and(|serving| serving.version == source.version)
        {
            return Ok(Outcome::Unchanged);
        }
        let snapshot = Snapshot::try_from(source.clone())?;
        self.await_endpoints(&source).await;

        let configuration = self.configuration(Arc::new(snapshot));
        let rejections = self.publish(configuration.clone()).await;
        if !rejections.is_empty() {
            self.restore().await;
            return Err(rejections);
        }

        // Addresses of backends that went with this snapshot stay until the next one: a
        // replica that is behind may still speak of them.
        self.addresses.retain(self.source.iter().chain([&source]));
        self.source = Some(source);
        self.cache_due = None;
        self.serving.send_replace(Some(configuration));
        Ok(Outcome::Served)
    }

    /// Gives the shards the last good configuration, or none if there never was one.
    async fn restore(&mut self) {
        let Some(serving) = self.serving.borrow().clone() else {
            self.to_shards.send_replace(None);
            return;
        };
        // Addresses may have changed since.
        let last_good = self.configuration(serving.snapshot.clone());
        for Rejection {
            object,
            field,
            message,
        } in self.publish(last_good.clone()).await
        {
            tracing::error!(
                object,
                field,
                reason = message,
                "the last good snapshot cannot be served"
            );
        }
        self.serving.send_replace(Some(last_good));
    }

    fn configuration(&self, snapshot: Arc<Snapshot>) -> Arc<Configuration> {
        let endpoints = self.addresses.of(&snapshot);
        Arc::new(Configuration {
            snapshot,
            endpoints,
        })
    }

    /// Waits a little for the addresses of backends that have none yet.
    async fn await_endpoints(&mut self, source: &v1::Snapshot) {
        let deadline = Instant::now() + ENDPOINTS_DEADLINE;
        while !self.addresses.cover(source) {
            match timeout_at(deadline, self.changes.recv()).await {
                Ok(Some(Change::Endpoints(endpoints))) => {
                    self.metrics.endpoints();
                    self.addresses.learn(endpoints);
                }
                Ok(Some(snapshot)) => {
                    self.next = Some(snapshot);
                    return;
                }
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Gives a configuration to the shards and waits for all of them. Returns what any
    /// of them refused.
    async fn publish(&mut self, configuration: Arc<Configuration>) -> Vec<Rejection> {
        let version = configuration.snapshot.version.clone();
        while let Ok(stray) = self.applied.try_recv() {
            report_stray(&stray);
        }
        self.to_shards.send_replace(Some(configuration));

        let deadline = Instant::now() + APPLY_DEADLINE;
        let mut waiting: BTreeSet<usize> = (0..self.shards).collect();
        let mut rejections = Vec::<Rejection>::new();
        while !waiting.is_empty() {
            match timeout_at(deadline, self.applied.recv()).await {
                Ok(Some(applied)) if applied.version == version => {
                    waiting.remove(&usize::from(applied.shard));
                    for rejection in applied.rejections {
                        // Every shard says the same of an address that is in use.
                        if !rejections.contains(&rejection) {
                            rejections.push(rejection);
                        }
                    }
                }
                Ok(Some(stray)) => report_stray(&stray),
                Ok(None) | Err(_) => {
                    rejections.extend(waiting.iter().map(|shard| {
                        rejection(
                            &format!("shard/{shard}"),
                            "",
                            "does not serve the snapshot in time: look at the data plane's log",
                        )
                    }));
                    break;
                }
            }
        }
        rejections
    }

    fn replace_endpoints(&mut self, first: v1::Endpoints) {
        let (mut next, mut changed) = (Some(first), false);
        for _ in 0..ENDPOINTS_AT_ONCE {
            let Some(one) = next.take() else { break };
            self.metrics.endpoints();
            changed |= self.addresses.learn(one);
            match self.changes.try_recv() {
                Ok(Change::Endpoints(another)) => next = Some(another),
                Ok(snapshot) => self.next = Some(snapshot),
                Err(_) => {}
            }
        }
        if let Some(left) = next {
            self.next = Some(Change::Endpoints(left));
        }
        let serving = self.serving.borrow().clone();
        if let (true, Some(serving)) = (changed, serving) {
            let configuration = self.configuration(serving.snapshot.clone());
            self.to_shards.send_replace(Some(configuration.clone()));
            self.serving.send_replace(Some(configuration));
            self.store_due
                .get_or_insert_with(|| Instant::now() + CACHE_PACE);
        }
    }

    async fn serve_cached(&mut self) {
        self.cache_due = None;
        let Some(cache) = self.cache.clone() else {
            return;
        };
        match tokio::task::spawn_blocking(move || cache.load()).await {
            Ok(Ok(Some((snapshot, endpoints)))) => {
                for one in endpoints {
                    // What a control plane said meanwhile is newer.
                    if !self.addresses.knows(&one.backend_id) {
                        self.addresses.learn(one);
                    }
                }
                let version = snapshot.version.clone();
                match self.serve(snapshot).await {
                    Ok(_) => {
                        tracing::warn!(%version, "no control plane answers: the cached snapshot is in service");
                        self.metrics.snapshot("cached");
                    }
                    Err(rejections) => report_refusal(&version, &rejections),
                }
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the cached snapshot cannot be read"),
            Err(error) => tracing::error!(%error, "reading the cached snapshot failed"),
        }
    }

    /// A cache that cannot be written is a warning: traffic does not need it.
    async fn store(&mut self) {
        self.store_due = None;
        let (Some(cache), Some(snapshot)) = (self.cache.clone(), self.source.clone()) else {
            return;
        };
        let endpoints = self.addresses.to_wire();
        match tokio::task::spawn_blocking(move || cache.store(snapshot, endpoints)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the snapshot cannot be cached"),
            Err(error) => tracing::error!(%error, "caching the snapshot failed"),
        }
    }
}

#[derive(Debug)]
enum Outcome {
    Served,
    Unchanged,
}

/// A shard speaks of a configuration that nobody waits for: of new addresses, or late.
fn report_stray(applied: &Applied) {
    for rejection in &applied.rejections {
        tracing::error!(
            shard = applied.shard,
            version = applied.version,
            object = rejection.object,
            reason = rejection.message,
            "a shard cannot serve"
        );
    }
}

fn report_refusal(version: &str, rejections: &[Rejection]) {
    for Rejection {
        object,
        field,
        message,
    } in rejections
    {
        tracing::warn!(version, object, field, reason = message, "snapshot refused");
    }
}

fn rejection(object: &str, field: &str, message: &str) -> Rejection {
    Rejection {
        object: object.to_owned(),
        field: field.to_owned(),
        message: message.to_owned(),
    }
}
