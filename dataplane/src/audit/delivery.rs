//! Carries the spool to a control plane replica, and to the next one when that is lost.

use std::time::Duration;

use rand::RngExt as _;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Spool,
    wire::{EncodedBatch, open},
};
use crate::control::{Backoff, DialError, Dialer, Replica, Replicas};

/// Most records of a batch.
const BATCH: usize = 512;
/// Longest that a record waits for others. The spool is looked into at this pace, so
/// that a shard never has to wake the control thread for a record.
const PACE: Duration = Duration::from_millis(50);
/// Batches on their way at once; flow control slows them further.
const WINDOW: usize = 4;
/// A replica that acknowledges nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(10);

/// Who reports, and to whom.
#[derive(Clone)]
pub(crate) struct Reporter {
    /// Name of this data plane.
    pub(crate) dataplane: String,
    /// This start of the process: sequence numbers begin anew with it.
    pub(crate) instance: String,
    /// Replicas of the control plane. Any one of them will do.
    pub(crate) replicas: Replicas,
    pub(crate) dialer: Dialer,
}

/// Delivers what the spool gets, for ever, or until `finish` is true and nothing waits
/// any more. A record that was not acknowledged is sent again to the next replica.
pub(crate) async fn deliver(
    mut spool: Spool,
    mut reporter: Reporter,
    mut finish: watch::Receiver<bool>,
) {
    let mut backoff = Backoff::default();
    // A fleet's records are spread over the replicas.
    let mut turn: usize = rand::rng().random_range(0..1024);
    loop {
        let known: Vec<Replica> = reporter
            .replicas
            .borrow_and_update()
            .iter()
            .cloned()
            .collect();
        if known.is_empty() {
            if !wait_for_replicas(&mut spool, &mut reporter.replicas, &mut finish).await {
                return;
            }
            continue;
        }
        let replica = &known[turn % known.len()];
        turn = turn.wrapping_add(1);
        if spool_is_finished(&mut spool, &mut finish).await {
            return;
        }
        let mut progress = false;
        match report(&mut spool, &reporter, replica, &finish, &mut progress).await {
            Ok(()) => return,
            Err(error) => {
                tracing::debug!(replica = %replica.address, %error, "audit records wait");
                if progress {
                    backoff.reset();
                }
                let wait = backoff.next(&mut rand::rng());
                tokio::select! {
                    () = sleep(wait) => {}
                    // There is little time left.
                    Ok(()) = finish.changed() => backoff.reset(),
                }
            }
        }
    }
}

/// Nobody to report to: the spool fills, and then counts what it loses. False: it is over.
async fn wait_for_replicas(
    spool: &mut Spool,
    replicas: &mut Replicas,
    finish: &mut watch::Receiver<bool>,
) -> bool {
    loop {
        spool.collect();
        if *finish.borrow() || finish.has_changed().is_err() {
            return false;
        }
        tokio::select! {
            Ok(()) = replicas.changed() => return true,
            Ok(()) = finish.changed() => {}
            () = sleep(PACE) => {}
        }
    }
}

/// Waits for a first record. True when none will come any more.
async fn spool_is_finished(spool: &mut Spool, finish: &mut watch::Receiver<bool>) -> bool {
    loop {
        spool.collect();
        if !spool.is_empty() {
            return false;
        }
        if *finish.borrow() {
            return true;
        }
        sleep(PACE).await;
    }
}

#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{0}")]
    Status(#[from] tonic::Status),
    #[error("the replica ended the stream")]
    Ended,
    #[error("the replica acknowledges nothing")]
    Stalled,
}

/// Reports to one replica. `Ok` when all is delivered and `finish` is true.
async fn report(
    spool: &mut Spool,
    reporter: &Reporter,
    replica: &Replica,
    finish: &watch::Receiver<bool>,
    progress: &mut bool,
) -> Result<(), Lost> {
    let channel = reporter.dialer.dial(replica).await?;
    let (batches, receiver) = mpsc::channel(WINDOW);
    // A server may read before it answers, so the first batches go ahead of the answer.
    let mut sent = 0;
    send(spool, reporter, &batches, &mut sent)?;
    let mut acks = open(channel, ReceiverStream::new(receiver)).await?;

    let mut waiting_since = Instant::now();
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ack = acks.message() => {
                let ack = ack?.ok_or(Lost::Ended)?;
                // Only what was sent can have been stored.
                spool.acknowledge(ack.sequence.min(sent));
                *progress = true;
                waiting_since = Instant::now();
            }
            _ = pace.tick() => {
                spool.collect();
                if spool.oldest().is_none_or(|oldest| oldest > sent) {
                    waiting_since = Instant::now();
                }
                send(spool, reporter, &batches, &mut sent)?;
                if *finish.borrow() && spool.is_empty() {
                    return Ok(());
                }
                if waiting_since.elapsed() > STALLED {
                    return Err(Lost::Stalled);
                }
            }
        }
    }
}

/// Sends what comes after `sent`, as far as the window lets it.
fn send(
    spool: &Spool,
    reporter: &Reporter,
    batches: &mpsc::Sender<EncodedBatch>,
    sent: &mut u64,
) -> Result<(), Lost> {
    loop {
        let permit = match batches.try_reserve() {
            Ok(permit) => permit,
            Err(mpsc::error::TrySendError::Full(())) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(())) => return Err(Lost::Ended),
        };
        let Some((records, last)) = spool.after(*sent, BATCH) else {
            return Ok(());
        };
        *sent = last;
        permit.send(EncodedBatch {
            dataplane_id: reporter.dataplane.clone(),
            instance_id: reporter.instance.clone(),
            records,
        });
    }
}
