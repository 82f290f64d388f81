//! From resources to what dataplanes are sent: one task, which owns the configuration.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Context;
use tidegate_proto::v1;
use tokio::sync::watch;
use tracing::{info, warn};

use super::Fleet;
use crate::{
    clock::unix_millis,
    source::{Problem, Sourced},
    status::{ObjectStatus, programmed, provisioned},
    translate::{Options, Translation, translate},
};

/// A configuration, and what is to be said about what it was made of.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Snapshots, addresses and statuses.
    pub translation: Translation,
    /// What the source refused.
    pub problems: Vec<Problem>,
    /// UNIX milliseconds at which it became the current one.
    pub as_of_ms: i64,
}

impl Published {
    /// What a dataplane of `gateway` serves; empty: one of all Gateways.
    pub fn snapshot(&self, gateway: &str) -> Option<&v1::Snapshot> {
        self.translation.snapshots.get(gateway)
    }

    /// The addresses of the backends that `snapshot` names, in its order.
    pub fn endpoints_of(&self, snapshot: &v1::Snapshot) -> impl Iterator<Item = v1::Endpoints> {
        snapshot.backends.iter().map(|backend| {
            let known = self.translation.endpoints.get(&backend.id).cloned();
            known.unwrap_or_else(|| v1::Endpoints {
                backend_id: backend.id.clone(),
                endpoints: vec![],
            })
        })
    }

    /// The status of every object, with what dataplanes made of it.
    pub fn statuses(&self, fleet: &Fleet) -> Vec<ObjectStatus> {
        let mut statuses = programmed(&self.translation, &fleet.answers());
        provisioned(&mut statuses, &fleet.provisioning_failures());
        statuses
    }
}

/// Translates whenever the resources or the keys change, for ever. Returns only where
/// going on makes no sense: the source is gone, or translation failed.
pub(crate) async fn publish(
    fleet: Arc<Fleet>,
    mut source: watch::Receiver<Arc<Sourced>>,
    mut keys: watch::Receiver<v1::Keys>,
    options: Options,
) -> anyhow::Error {
    let mut known = BTreeSet::new();
    loop {
        let sourced = Arc::clone(&source.borrow_and_update());
        let options = Options {
            keys: keys.borrow_and_update().clone(),
            ..options.clone()
        };
        log_news(&mut known, &sourced.problems);
        fleet
            .instruments
            .source_problems
            .record(sourced.problems.len() as u64, &[]);
        // A large configuration takes its time: not on a thread that serves sessions.
        let translated = tokio::task::spawn_blocking(move || Published {
            translation: translate(&sourced.resources, &options),
            problems: sourced.problems.clone(),
            as_of_ms: 0,
        });
        match translated.await.context("translation failed") {
            Ok(published) => fleet.offer(published),
            Err(error) => return error,
        }
        tokio::select! {
            changed = source.changed() => if changed.is_err() {
                return anyhow::anyhow!("the source of resources ended");
            },
            changed = keys.changed() => if changed.is_err() {
                return anyhow::anyhow!("the key store is gone");
            },
        }
    }
}

impl Fleet {
    /// Makes a configuration the current one; an equal one wakes nobody.
    pub(crate) fn offer(&self, mut published: Published) {
        published.as_of_ms = unix_millis();
        self.configuration.send_if_modified(|current| {
            if current.as_deref().is_some_and(|current| {
                current.translation == published.translation
                    && current.problems == published.problems
            }) {
                return false;
            }
            let versions = |published: &Published| {
                let snapshots = published.translation.snapshots.iter();
                snapshots
                    .map(|(id, snapshot)| (id.clone(), snapshot.version.clone()))
                    .collect()
            };
            let before: BTreeSet<(String, String)> =
                current.as_deref().map(versions).unwrap_or_default();
            for (gateway, version) in versions(&published).difference(&before) {
                self.instruments.snapshots_published.add(1, &[]);
                info!(gateway, version, "configuration changed");
            }
            *current = Some(Arc::new(published));
            true
        });
    }
}

/// Says what is new among the problems, and what is solved, once.
fn log_news(known: &mut BTreeSet<Problem>, problems: &[Problem]) {
    let now: BTreeSet<_> = problems.iter().cloned().collect();
    for problem in now.difference(known) {
        warn!(%problem, effect = ?problem.effect, "refused");
    }
    for problem in known.difference(&now) {
        info!(%problem, "no longer refused");
    }
    *known = now;
}
