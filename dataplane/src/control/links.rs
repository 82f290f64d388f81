//! A session to every replica that there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use super::{Link, Replica, Replicas};

/// A replica whose address is no longer told keeps its session for so long: it may only
/// be unready, or names may be told late.
const GRACE: Duration = Duration::from_secs(15);

/// Keeps sessions for ever; `link` makes what keeps one.
pub(crate) async fn keep(mut replicas: Replicas, link: impl Fn(Replica) -> Link) {
    // Dropped with this, they all end.
    let mut tasks = JoinSet::new();
    let mut links = BTreeMap::<Replica, (AbortHandle, Option<Instant>)>::new();
    loop {
        let known: BTreeSet<Replica> = replicas.borrow_and_update().clone();
        let now = Instant::now();
        for replica in &known {
            links.entry(replica.clone()).or_insert_with(|| {
                tracing::debug!(replica = %replica.address, "a replica of the control plane");
                (tasks.spawn(link(replica.clone()).keep()), None)
            });
        }
        let mut next = None;
        links.retain(|replica, (task, gone)| {
            if known.contains(replica) {
                *gone = None;
                return true;
            }
            let end = *gone.get_or_insert(now) + GRACE;
            if now >= end {
                tracing::debug!(replica = %replica.address, "a replica is gone");
                task.abort();
                return false;
            }
            next = Some(next.map_or(end, |next: Instant| next.min(end)));
            true
        });
        tokio::select! {
            changed = replicas.changed() => if changed.is_err() {
                return;
            },
            () = super::at(next) => {}
            // Those that were told to end.
            Some(_) = tasks.join_next() => {}
        }
    }
}
