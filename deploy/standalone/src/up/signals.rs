//! SIGTERM and SIGINT.

use anyhow::Context;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};

/// Signals counted from the moment of [`Signals::listen`], so that none is missed.
pub(super) struct Signals {
    seen: watch::Receiver<(usize, &'static str)>,
    counting: JoinHandle<()>,
}

impl Signals {
    pub(super) fn listen() -> anyhow::Result<Self> {
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        let (count, seen) = watch::channel((0, ""));
        let counting = tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    Some(()) = terminate.recv() => "SIGTERM",
                    Some(()) = interrupt.recv() => "SIGINT",
                    else => return,
                };
                count.send_modify(|(number, last)| {
                    *number += 1;
                    *last = name;
                });
            }
        });
        Ok(Self { seen, counting })
    }

    /// Waits for one signal.
    pub(super) async fn first(&self) -> &'static str {
        self.at_least(1).await
    }

    /// Waits for a second one.
    pub(super) async fn again(&self) -> &'static str {
        self.at_least(2).await
    }

    async fn at_least(&self, wanted: usize) -> &'static str {
        let mut seen = self.seen.clone();
        match seen.wait_for(|(number, _)| *number >= wanted).await {
            Ok(seen) => seen.1,
            // The counting task ends with the runtime, and this with it.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.counting.abort();
    }
}
