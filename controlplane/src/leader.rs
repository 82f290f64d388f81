//! Which replica writes to the API server: the one that holds a Lease.
//!
//! Owned here: the Lease, and the word on whether it is held. What a write needs of it is
//! that leadership ends here before anyone else may begin: it counts from before a renewal
//! was sent, and for less time than the Lease. Nothing on the way of a request needs a
//! leader; without one, statuses are late.

mod lease;

use std::time::Duration;

use anyhow::anyhow;
use k8s_openapi::{
    api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use opentelemetry::metrics::Gauge;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, info, warn};

use self::lease::{Move, Seen};
use crate::kubernetes::told;

/// Name of the Lease.
pub const LEASE: &str = "tidegate-controlplane";
/// How a Lease is held.
#[derive(Clone, Copy)]
struct Pace {
    /// How long a Lease holds that nobody renews.
    duration: Duration,
    /// How long after a renewal was begun the holder may write. A write may take the rest
    /// of the Lease's time.
    deadline: Duration,
    renewal: Duration,
    /// Between looks of those who wait, and after a renewal that failed.
    look: Duration,
}

const PACE: Pace = Pace {
    duration: Duration::from_secs(12),
    deadline: Duration::from_secs(8),
    renewal: Duration::from_secs(3),
    look: Duration::from_secs(1),
};
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest that anything that needs leadership may take once it began.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(3);

/// Someone who would lead.
pub(crate) struct Candidate {
    api: Api<Lease>,
    me: String,
    leads: watch::Sender<bool>,
    gauge: Gauge<u64>,
    pace: Pace,
    seen: Option<Seen>,
}

impl Candidate {
    /// `me` is different for each run of each replica.
    pub(crate) fn new(client: Client, namespace: &str, me: String, gauge: Gauge<u64>) -> Self {
        gauge.record(0, &[]);
        Self {
            api: Api::namespaced(client, namespace),
            me,
            leads: watch::Sender::new(false),
            gauge,
            pace: PACE,
            seen: None,
        }
    }

    /// Whether this replica leads, and a wake-up whenever that changes.
    pub(crate) fn leads(&self) -> watch::Receiver<bool> {
        self.leads.subscribe()
    }

    /// Takes the Lease when it is free and holds it, until told to stop; then gives it back,
    /// so that another need not wait.
    pub(crate) async fn run(mut self, mut stopping: watch::Receiver<bool>) -> anyhow::Error {
        let mut until: Option<Instant> = None;
        loop {
            let begun = Instant::now();
            let limit = until.map_or(CALL_TIMEOUT, |until| CALL_TIMEOUT.min(until - begun));
            let next = match timeout(limit, self.attempt()).await {
                Ok(Ok(true)) => {
                    until = Some(begun + self.pace.deadline);
                    begun + self.pace.renewal
                }
                Ok(Ok(false)) => {
                    until = None;
                    begun + self.pace.look
                }
                Ok(Err(error)) => {
                    debug!(error = told(&error), "cannot take or renew the Lease");
                    begun + self.pace.look
                }
                Err(_) => begun + self.pace.look,
            };
            self.tell(until);
            let next = until.map_or(next, |until| next.min(until));
            tokio::select! {
                // Gone with the control plane itself: then it is time too.
                _ = stopping.wait_for(|stopping| *stopping) => break,
                () = sleep_until(next) => {}
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                until = None;
                self.tell(until);
            }
        }
        if until.is_some() {
            self.tell(None);
            match timeout(CALL_TIMEOUT, self.release()).await {
                Ok(Ok(())) => info!("gave the Lease back"),
                Ok(Err(error)) => warn!(
                    error = told(&error),
                    "cannot give the Lease back; it runs out by itself"
                ),
                Err(_) => warn!("cannot give the Lease back in time; it runs out by itself"),
            }
        }
        anyhow!("no longer a candidate for leading")
    }

    fn tell(&self, until: Option<Instant>) {
        let leads = until.is_some();
        self.leads.send_if_modified(|now| {
            let changed = *now != leads;
            if changed && leads {
                info!(
                    identity = self.me,
                    "leads: statuses are written and data planes provisioned from here"
                );
            } else if changed {
                warn!(identity = self.me, "leads no longer");
            }
            *now = leads;
            changed
        });
        self.gauge.record(leads.into(), &[]);
    }

    /// True where the Lease is held.
    async fn attempt(&mut self) -> kube::Result<bool> {
        let found = self.api.get_opt(LEASE).await?;
        let now = Instant::now();
        let seen = Seen::look(self.seen.take(), found.as_ref(), now);
        let next = lease::next(&seen, &self.me, now);
        self.seen = Some(seen);
        let time = MicroTime(Timestamp::now());
        let asked = PostParams::default();
        let written = match (next, found) {
            (Move::Wait, _) => return Ok(false),
            (_, None) => {
                let lease = lease::first(LEASE, &self.me, self.pace.duration, time);
                self.api.create(&asked, &lease).await
            }
            (Move::Take, Some(lease)) => {
                let lease = lease::taken(lease, &self.me, self.pace.duration, time);
                self.api.replace(LEASE, &asked, &lease).await
            }
            (Move::Renew, Some(lease)) => {
                let lease = lease::renewed(lease, self.pace.duration, time);
                self.api.replace(LEASE, &asked, &lease).await
            }
        };
        // Another was quicker, or it is another Lease by now: the next look tells.
        written.map(|lease| {
            self.seen = Some(Seen::look(None, Some(&lease), now));
            true
        })
    }

    async fn release(&self) -> kube::Result<()> {
        let Some(lease) = self.api.get_opt(LEASE).await? else {
            return Ok(());
        };
        if lease::holder(&lease) != self.me {
            return Ok(());
        }
        let lease = lease::released(lease, MicroTime(Timestamp::now()));
        self.api
            .replace(LEASE, &PostParams::default(), &lease)
            .await
            .map(|_| ())
    }
}

#[cfg(test)]
mod tests;
