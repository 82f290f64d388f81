//! The data plane's side of the control protocol, on the control thread.
//!
//! One [session](session) is kept to every replica of the control plane that is
//! [found](discovery), and one of them is [followed](following): its snapshots and
//! addresses go to the [`Applier`], which alone gives configurations to the shards. All
//! are told what is served; commands go to the shards that they concern through the [`Commander`],
//! and what the shards [report](Reports) goes up when it changes. Nothing here touches
//! traffic: when every control plane is away, the last configuration serves on.

mod addresses;
mod apply;
mod backoff;
mod cache;
mod command;
mod dial;
mod discovery;
mod following;
pub(crate) mod links;
mod report;
mod session;
mod trust;

use std::{future::pending, sync::Arc};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

pub use self::backoff::Backoff;
pub(crate) use self::{
    apply::{Applier, Change, Verdicts},
    cache::Cache,
    command::Commander,
    dial::{DialError, Dialer, Replica},
    discovery::{Replicas, Target, discover},
    following::Following,
    report::Reports,
    session::Link,
    trust::Trust,
};
use crate::snapshot::Configuration;

/// What every shard serves, once there is something.
pub(crate) type Serving = watch::Receiver<Option<Arc<Configuration>>>;

/// Sleeps until a time that may not be set.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

#[cfg(test)]
pub(crate) mod tests;
