//! The session to one replica of the control plane, kept for the life of the process.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesOrdered};
use tidegate_proto::v1::{
    Ack, DataplaneState, Hello, Nack, Rejection, SessionDown, SessionUp,
    control_client::ControlClient, session_down::Message as Down, session_up::Message as Up,
};
use tokio::{
    sync::{
        mpsc::{self, error::SendTimeoutError},
        oneshot, watch,
    },
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Endpoint};

use super::{Backoff, Change, Commander, Serving};
use crate::metrics::ControlMetrics;

/// Messages on their way up.
const UP_QUEUE: usize = 64;
/// Changes that wait for the applier; more are left in the stream.
const DOWN_QUEUE: usize = 64;
/// A replica that takes nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(10);

/// Everything that a session needs.
#[derive(Clone)]
pub(crate) struct Link {
    /// The replica.
    pub(crate) replica: Endpoint,
    /// Who is calling. The version in service is filled in at each call.
    pub(crate) hello: Hello,
    pub(crate) changes: mpsc::Sender<Change>,
    pub(crate) serving: Serving,
    pub(crate) commander: Arc<Commander>,
    pub(crate) states: watch::Receiver<DataplaneState>,
    pub(crate) metrics: Arc<ControlMetrics>,
}

#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("no connection: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("{0}")]
    Status(#[from] tonic::Status),
    #[error("the control plane ended the session")]
    Ended,
    #[error("the control plane takes no messages")]
    Stalled,
    #[error("the data plane is shutting down")]
    Stopping,
}

impl Link {
    /// Keeps a session for ever.
    pub(crate) async fn keep(self) {
        let mut backoff = Backoff::default();
        let replica = self.replica.uri().clone();
        loop {
            match self.open().await {
                Ok((up, down)) => {
                    tracing::info!(%replica, "session opened");
                    self.metrics.session_opened();
                    let began = tokio::time::Instant::now();
                    let lost = self.serve(up, down).await;
                    self.metrics.session_ended();
                    tracing::warn!(%replica, %lost, "session ended");
                    // One that ends at once is no success.
                    if began.elapsed() > Duration::from_secs(5) {
                        backoff.reset();
                    }
                }
                Err(error) => {
                    tracing::debug!(%replica, %error, "no session");
                    self.metrics.session_failed();
                }
            }
            let wait = backoff.next(&mut rand::rng());
            sleep(wait).await;
        }
    }

    async fn open(&self) -> Result<(mpsc::Sender<SessionUp>, Streaming<SessionDown>), Lost> {
        let mut client = ControlClient::new(self.replica.connect().await?)
            // A snapshot holds every certificate and route: the usual 4 MiB are not enough.
            .max_decoding_message_size(LARGEST_MESSAGE);
        let (up, receiver) = mpsc::channel(UP_QUEUE);
        let serving = self
            .serving
            .borrow()
            .as_ref()
            .map(|serving| serving.snapshot.version.clone());
        let hello = Hello {
            serving_version: serving.unwrap_or_default(),
            ..self.hello.clone()
        };
        // The server may wait for the Hello before it answers.
        send(&up, Up::Hello(hello)).await?;
        let down = client
            .session(ReceiverStream::new(receiver))
            .await?
            .into_inner();
        Ok((up, down))
    }

    async fn serve(&self, up: mpsc::Sender<SessionUp>, down: Streaming<SessionDown>) -> Lost {
        match self.converse(up, down).await {
            Ok(never) => match never {},
            Err(lost) => lost,
        }
    }

    async fn converse(
        &self,
        up: mpsc::Sender<SessionUp>,
        mut down: Streaming<SessionDown>,
    ) -> Result<std::convert::Infallible, Lost> {
        let mut states = self.states.clone();
        states.mark_changed();
        let mut verdicts = FuturesOrdered::new();
        let mut changes = VecDeque::new();
        loop {
            tokio::select! {
                message = down.message(), if changes.len() < DOWN_QUEUE => {
                    match message?.ok_or(Lost::Ended)?.message {
                        Some(Down::Snapshot(snapshot)) => {
                            let version = snapshot.version.clone();
                            let (reply, verdict) = oneshot::channel();
                            verdicts.push_back(async move { (version, verdict.await) });
                            changes.push_back(Change::Snapshot(snapshot, reply));
                        }
                        Some(Down::Endpoints(endpoints)) => {
                            changes.push_back(Change::Endpoints(endpoints));
                        }
                        Some(Down::Command(command)) => {
                            let (commander, up) = (self.commander.clone(), up.clone());
                            tokio::spawn(async move {
                                let reply = commander.execute(command).await;
                                // The session may be gone; then nobody waits for it.
                                let _ = send(&up, Up::Reply(reply)).await;
                            });
                        }
                        // From a control plane that is newer than this.
                        None => {}
                    }
                }
                permit = self.changes.reserve(), if !changes.is_empty() => {
                    let permit = permit.map_err(|_| Lost::Stopping)?;
                    // The branch's condition: there is one.
                    if let Some(change) = changes.pop_front() {
                        permit.send(change);
                    }
                }
                Some((version, verdict)) = verdicts.next(), if !verdicts.is_empty() => {
                    let verdict = verdict.map_err(|_| Lost::Stopping)?;
                    send(&up, answer(version, verdict)).await?;
                }
                changed = states.changed() => {
                    changed.map_err(|_| Lost::Stopping)?;
                    let state = states.borrow_and_update().clone();
                    send(&up, Up::State(state)).await?;
                }
            }
        }
    }
}

fn answer(version: String, verdict: Result<(), Vec<Rejection>>) -> Up {
    match verdict {
        Ok(()) => Up::Ack(Ack { version }),
        Err(rejections) => Up::Nack(Nack {
            version,
            rejections,
        }),
    }
}

async fn send(up: &mpsc::Sender<SessionUp>, message: Up) -> Result<(), Lost> {
    let message = SessionUp {
        message: Some(message),
    };
    up.send_timeout(message, STALLED)
        .await
        .map_err(|error| match error {
            SendTimeoutError::Timeout(_) => Lost::Stalled,
            SendTimeoutError::Closed(_) => Lost::Ended,
        })
}

/// Of one message, in bytes.
const LARGEST_MESSAGE: usize = 64 << 20;
