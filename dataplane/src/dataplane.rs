//! A data plane as one value: started, looked at, shut down.
//!
//! [`Dataplane::start`] spawns the control thread, which spawns the shards and everything
//! that talks to the outside but traffic. The caller's runtime has no part in it.

mod control_thread;

use std::{
    net::SocketAddr,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use anyhow::Context as _;
use tokio::sync::oneshot;

use self::control_thread::{Order, Started};
use crate::{Config, metrics::Metrics};

/// A running data plane. Dropped, it ends as if [killed](Self::kill).
#[derive(Debug)]
pub struct Dataplane {
    admin_addr: Option<SocketAddr>,
    metrics: Metrics,
    orders: Option<oneshot::Sender<Order>>,
    failure: Option<oneshot::Receiver<anyhow::Error>>,
    ended: oneshot::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Dataplane {
    /// Starts the threads. Traffic flows once a control plane has sent a snapshot.
    ///
    /// # Errors
    /// When a setting is invalid, the admin address is taken or a thread cannot start.
    pub fn start(config: Config) -> anyhow::Result<Self> {
        config.validate()?;
        let (started, facts) = mpsc::sync_channel(1);
        let (orders, order) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("tidegate-control".into())
            .spawn(move || {
                control_thread::run(config, &started, order);
                let _ = end.send(());
            })
            .context("the control thread cannot start")?;
        let Started {
            admin_addr,
            metrics,
            failure,
        } = facts
            .recv()
            .context("the control thread ended at its start")??;
        Ok(Self {
            admin_addr,
            metrics,
            orders: Some(orders),
            failure: Some(failure),
            ended,
            thread: Some(thread),
        })
    }

    /// Where `/readyz`, `/healthz` and `/metrics` are.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_addr
    }

    /// Every metric, as Prometheus text.
    pub fn metrics_text(&self) -> String {
        self.metrics.text()
    }

    /// The metrics, for whoever outlives this value.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Waits until a thread has failed, for ever if none does. The data plane is then no
    /// longer whole, and should be ended.
    pub async fn stopped(&mut self) -> anyhow::Error {
        let reason = match self.failure.take() {
            Some(failure) => failure.await.ok(),
            None => std::future::pending().await,
        };
        reason.unwrap_or_else(|| anyhow::anyhow!("the control thread has ended"))
    }

    /// Drains every connection, at the longest for the configured deadline, delivers the
    /// audit records, and ends the threads.
    pub async fn shutdown(mut self) {
        self.order(Order::Shutdown);
        // An error means that the thread has ended already.
        let _ = (&mut self.ended).await;
        self.join();
    }

    /// Ends at once, as if the process had died: no drain, no farewell to clients, no
    /// delivery of records.
    pub fn kill(mut self) {
        self.order(Order::Kill);
        self.join();
    }

    fn order(&mut self, order: Order) {
        if let Some(orders) = self.orders.take() {
            // An error means that the thread has ended already.
            let _ = orders.send(order);
        }
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the control thread panicked");
        }
    }
}

#[cfg(test)]
mod tests;
