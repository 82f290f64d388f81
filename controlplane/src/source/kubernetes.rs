//! The API server of a Kubernetes cluster as a source.
//!
//! Owned here: watching, and when to publish. Each kind has a task ([`watch`]) whose
//! changes meet in one [`inventory`]; Secrets and ConfigMaps are read only where something
//! refers to them. Changes that come together are published together, and nothing before
//! everything was listed once, so that a start never takes anything away from dataplanes.
//! Never here: a write. What others keep in objects is dropped, an object that is not of
//! its kind's form is a problem beside the others, and a kind that is not installed is
//! looked for again.

mod gather;
mod inventory;
pub(crate) mod kind;
mod prune;
pub(crate) mod read;
mod references;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;

use kube::Client;
use tokio::sync::{mpsc, watch as channel};

use self::{
    gather::Gatherer,
    inventory::{Inventory, Watch},
    kind::KINDS,
};
use super::Sourced;
use crate::{status::ObservedStatuses, telemetry::Instruments};

pub(crate) use self::kind::resource;

/// Which of a cluster's objects are read.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// None: all.
    pub namespaces: Vec<String>,
}

impl Settings {
    fn watches(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|watched| watched == namespace)
    }
}

/// What comes of watching.
pub(crate) struct Watched {
    /// None until everything was listed.
    pub sourced: channel::Receiver<Option<Arc<Sourced>>>,
    pub statuses: Arc<ObservedStatuses>,
}

/// Changes on their way to the inventory; watches wait while it is busy.
const QUEUE: usize = 256;

/// Watches on tasks of the current runtime until the receiver is dropped.
pub(crate) fn watch(client: Client, settings: Settings, instruments: Instruments) -> Watched {
    let namespaces: Vec<Option<Arc<str>>> = match settings.namespaces.is_empty() {
        true => vec![None],
        false => settings
            .namespaces
            .iter()
            .map(|name| Some(name.as_str().into()))
            .collect(),
    };
    let watches: Vec<_> = KINDS
        .iter()
        .flat_map(|kind| {
            let scopes = if kind.namespaced {
                namespaces.clone()
            } else {
                vec![None]
            };
            scopes
                .into_iter()
                .map(move |namespace| Watch { kind, namespace })
        })
        .collect();
    let statuses = Arc::new(ObservedStatuses::default());
    let inventory = Inventory::new(&watches, Arc::clone(&statuses));
    let (changes, received) = mpsc::channel(QUEUE);
    for one in watches {
        let (client, changes) = (client.clone(), changes.clone());
        tokio::spawn(watch::run(one, client, changes, instruments.clone()));
    }
    let (sender, sourced) = channel::channel(None);
    tokio::spawn(Gatherer::new(client, settings, inventory, instruments).run(received, sender));
    Watched { sourced, statuses }
}
