//! A folder of YAML files as a source, for machines without a Kubernetes.
//!
//! Owned here: when to look. The folder's `*.yaml`, `*.yml` and `*.json` files hold the
//! resources that Kubernetes would; sub-folders are not looked into. A change shows
//! after a moment of quiet, so that a half-written file is seldom read. Where the system
//! sends no events (network file systems, links to elsewhere) a slow poll finds it.
//! Never here: what the files mean, which is `document`'s, what values an API server would
//! refuse, which is `schema`'s, and which content of them is in service, which is `folder`'s.

mod decode;
mod document;
mod folder;
mod read;
mod schema;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::{mpsc, watch},
    time::{self, Instant, MissedTickBehavior},
};

use self::folder::Folder;
use super::Sourced;

/// Reads the folder, then watches it on a task of the current runtime until the last
/// receiver is dropped. The first value is there on return; files that are refused are
/// among its problems.
///
/// # Errors
/// The folder cannot be listed.
pub fn watch(dir: PathBuf) -> anyhow::Result<watch::Receiver<Arc<Sourced>>> {
    let mut folder = Folder::default();
    // Watching begins before reading, so that no change falls between.
    let (nudge, nudges) = mpsc::channel(1);
    let watcher = watcher(&dir, nudge)
        .inspect_err(
            |error| tracing::warn!(dir = %dir.display(), %error, "no file events; polling alone"),
        )
        .ok();
    let files = read::all(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
    folder.apply(Ok(files));
    let (sender, receiver) = watch::channel(Arc::new(folder.sourced().clone()));
    tokio::spawn(run(dir, folder, watcher, nudges, sender));
    Ok(receiver)
}

fn watcher(dir: &std::path::Path, nudge: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading must not look like a change. An error may hide one.
        let quiet = event.is_ok_and(|event| match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
            EventKind::Access(_) => true,
            _ => false,
        });
        if !quiet {
            // Full: a look is due anyway.
            let _ = nudge.try_send(());
        }
    })?;
    watcher.watch(dir, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

async fn run(
    dir: PathBuf,
    mut folder: Folder,
    watcher: Option<RecommendedWatcher>,
    mut nudges: mpsc::Receiver<()>,
    sender: watch::Sender<Arc<Sourced>>,
) {
    let mut poll = time::interval_at(Instant::now() + POLL, POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = sender.closed() => break,
            Some(()) = nudges.recv() => settle(&mut nudges).await,
            _ = poll.tick() => {}
        }
        let from = dir.clone();
        let looked = tokio::task::spawn_blocking(move || {
            folder.apply(read::all(&from));
            folder
        });
        folder = match looked.await {
            Ok(folder) => folder,
            // The runtime shuts down.
            Err(_) => break,
        };
        sender.send_if_modified(|current| {
            let changed = **current != *folder.sourced();
            if changed {
                *current = Arc::new(folder.sourced().clone());
                // What is refused is for the fleet to say, which tells new from known.
                tracing::debug!(resources = ?current.resources, "files read");
            }
            changed
        });
    }
    drop(watcher);
}

/// Waits until nothing has happened for a moment, but not for ever.
async fn settle(nudges: &mut mpsc::Receiver<()>) {
    let deadline = Instant::now() + LONGEST_SETTLE;
    while Instant::now() < deadline {
        match time::timeout(QUIET, nudges.recv()).await {
            Ok(Some(())) => {}
            Ok(None) | Err(_) => break,
        }
    }
}

/// The resources of one file's text, for tests of what is made of them.
#[cfg(test)]
pub(crate) fn parse(
    file: &str,
    text: &str,
) -> Result<crate::resources::Resources, Vec<super::Problem>> {
    // Translation has an answer to what the schema refuses, too, and its tests want it.
    resources(file, text, false)
}

/// The resources of one file's text. With `schema` it is judged as an API server would.
#[cfg(any(test, debug_assertions))]
pub(crate) fn resources(
    file: &str,
    text: &str,
    schema: bool,
) -> Result<crate::resources::Resources, Vec<super::Problem>> {
    let judge: document::Schema = match schema {
        true => schema::check,
        false => |_, _| Vec::new(),
    };
    let mut resources = crate::resources::Resources::default();
    for located in document::read(file, text, judge)?.objects {
        resources.insert(located.object, file);
    }
    Ok(resources)
}

const QUIET: Duration = Duration::from_millis(60);
const LONGEST_SETTLE: Duration = Duration::from_millis(400);
const POLL: Duration = Duration::from_secs(5);
