//! The data plane's side of the control protocol, on the control thread.
//!
//! One [session](session) is kept to every replica of the control plane. Snapshots and
//! addresses of all of them meet in the [`Applier`], which alone gives configurations to
//! the shards; commands go to the shards that they concern through the [`Commander`],
//! and what the shards [report](Reports) goes up when it changes. Nothing here touches
//! traffic: when every control plane is away, the last configuration serves on.

mod addresses;
mod apply;
mod backoff;
mod cache;
mod command;
mod report;
mod session;

use std::sync::Arc;

use tokio::sync::watch;

pub use self::backoff::Backoff;
pub(crate) use self::{
    apply::{Applier, Change},
    cache::Cache,
    command::Commander,
    report::Reports,
    session::Link,
};
use crate::snapshot::Configuration;

/// What every shard serves, once there is something.
pub(crate) type Serving = watch::Receiver<Option<Arc<Configuration>>>;

#[cfg(test)]
pub(crate) mod tests;
