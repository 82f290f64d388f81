//! The session to one replica of the control plane, kept for the life of the process.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesOrdered};
use tidegate_proto::v1::{
    self, Ack, DataplaneState, Endpoints, Held, Hello, Nack, Rejection, SessionDown, SessionUp,
    Snapshot, control_client::ControlClient, session_down::Message as Down,
    session_up::Message as Up,
};
use tokio::{
    sync::{
        mpsc::{self, error::SendTimeoutError},
        oneshot, watch,
    },
    time::{Instant, sleep},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{
    Backoff, Change, Commander, DialError, Dialer, Following, Replica, Serving, Verdicts,
    apply::Verdict, at, following::Claim,
};
use crate::{metrics::ControlMetrics, quic::relay::peers::Peers};

/// Messages on their way up.
const UP_QUEUE: usize = 64;
/// Changes that wait for the applier; more are left in the stream.
const DOWN_QUEUE: usize = 64;
/// A replica that takes nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(10);

/// Everything that a session needs.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) replica: Replica,
    pub(crate) dialer: Dialer,
    /// Who is calling. The version in service is filled in at each call.
    pub(crate) hello: Hello,
    pub(crate) changes: mpsc::Sender<Change>,
    pub(crate) serving: Serving,
    pub(crate) verdicts: Verdicts,
    pub(crate) following: Arc<Following>,
    pub(crate) commander: Arc<Commander>,
    pub(crate) states: watch::Receiver<DataplaneState>,
    /// The other data planes of the Gateway, as the replica that is followed knows them.
    pub(crate) peers: watch::Sender<Arc<Peers>>,
    pub(crate) metrics: Arc<ControlMetrics>,
}

#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Dial(#[from] DialError),
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
        let replica = self.replica.address;
        loop {
            match self.open().await {
                Ok((up, down)) => {
                    tracing::info!(%replica, "session opened");
                    self.metrics.session_opened();
                    let began = Instant::now();
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
        let mut client = ControlClient::new(self.dialer.dial(&self.replica).await?)
            // A snapshot holds every certificate and route: the usual 4 MiB are not enough.
            .max_decoding_message_size(LARGEST_MESSAGE);
        let (up, receiver) = mpsc::channel(UP_QUEUE);
        let hello = Hello {
            serving_version: self.serving_version(),
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

    fn serving_version(&self) -> String {
        let serving = self.serving.borrow();
        let version = serving
            .as_ref()
            .map(|serving| serving.snapshot.version.clone());
        version.unwrap_or_default()
    }

    async fn serve(&self, up: mpsc::Sender<SessionUp>, down: Streaming<SessionDown>) -> Lost {
        let mut followed = false;
        let lost = match self.converse(up, down, &mut followed).await {
            Ok(never) => match never {},
            Err(lost) => lost,
        };
        if followed {
            self.peers
                .send_modify(|peers| *peers = Arc::new(peers.unattended()));
        }
        lost
    }

    fn meet(&self, peers: &v1::Peers) {
        self.peers
            .send_modify(|known| *known = Arc::new(known.after(peers)));
    }

    async fn converse(
        &self,
        up: mpsc::Sender<SessionUp>,
        mut down: Streaming<SessionDown>,
        followed: &mut bool,
    ) -> Result<std::convert::Infallible, Lost> {
        let mut states = self.states.clone();
        states.mark_changed();
        let mut verdicts = self.verdicts.clone();
        verdicts.mark_unchanged();
        let mut moves = self.following.changes();
        let seat = self.following.join();
        let mut offered = Offered::default();
        let mut again = None;
        let mut unanswered = None;
        let mut answers = FuturesOrdered::new();
        let mut changes = VecDeque::new();
        // What was told without being asked: not twice.
        let mut told = None;
        loop {
            if *followed && !seat.is_followed() {
                tracing::info!(replica = %self.replica.address, "no longer followed");
                *followed = false;
                // What was not given away yet is older than what the other has.
                changes.clear();
            }
            tokio::select! {
                message = down.message(), if changes.len() < DOWN_QUEUE && unanswered.is_none() => {
                    let SessionDown { message, as_of_ms } = message?.ok_or(Lost::Ended)?;
                    match message {
                        Some(Down::Snapshot(snapshot)) => {
                            let version = snapshot.version.clone();
                            offered.snapshot(snapshot);
                            seat.offer(&version, as_of_ms);
                            offered.as_of = as_of_ms;
                            if *followed {
                                seat.serves(as_of_ms);
                                changes.extend(offered.try_snapshot(&mut answers));
                            } else {
                                // First it is seen whether this one is followed now.
                                unanswered = Some(version);
                                again = Some(Instant::now());
                            }
                        }
                        Some(Down::Endpoints(endpoints)) => {
                            offered.as_of = as_of_ms;
                            if let Some(version) = offered.version() {
                                seat.offer(version, as_of_ms);
                            }
                            if *followed {
                                seat.serves(as_of_ms);
                                changes.push_back(Change::Endpoints(endpoints.clone()));
                            }
                            offered.endpoints(endpoints);
                        }
                        Some(Down::Command(command)) => {
                            let (commander, up) = (self.commander.clone(), up.clone());
                            tokio::spawn(async move {
                                let reply = commander.execute(command).await;
                                // The session may be gone; then nobody waits for it.
                                let _ = send(&up, Up::Reply(reply)).await;
                            });
                        }
                        Some(Down::Peers(peers)) => {
                            if *followed {
                                self.meet(&peers);
                            }
                            offered.peers = Some(peers);
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
                Some((version, verdict)) = answers.next(), if !answers.is_empty() => {
                    match verdict {
                        Ok(outcome) => {
                            told = Some((version.clone(), outcome.is_ok()));
                            send(&up, answer(version, outcome)).await?;
                        }
                        // It was dropped for another replica's.
                        Err(_) if !*followed => send(&up, self.early(version)).await?,
                        Err(_) => return Err(Lost::Stopping),
                    }
                }
                changed = verdicts.changed() => {
                    changed.map_err(|_| Lost::Stopping)?;
                    let verdict = verdicts.borrow_and_update().clone();
                    if let Some(Verdict { version, outcome }) = verdict {
                        let news = Some((version.clone(), outcome.is_ok()));
                        if !*followed && told != news {
                            told = news;
                            send(&up, answer(version, outcome)).await?;
                        }
                    }
                }
                changed = states.changed() => {
                    changed.map_err(|_| Lost::Stopping)?;
                    let state = states.borrow_and_update().clone();
                    send(&up, Up::State(state)).await?;
                }
                Ok(()) = moves.changed() => again = Some(Instant::now()),
                () = at(again) => {
                    again = None;
                    if !*followed {
                        match seat.claim(&self.serving_version()) {
                            Claim::Wait(until) => {
                                again = until;
                                if let Some(version) = unanswered.take() {
                                    send(&up, self.early(version)).await?;
                                }
                            }
                            Claim::Follow => {
                                unanswered = None;
                                tracing::info!(replica = %self.replica.address, "followed");
                                *followed = true;
                                seat.serves(offered.as_of);
                                offered.peers.iter().for_each(|peers| self.meet(peers));
                                changes.extend(offered.try_snapshot(&mut answers));
                                changes.extend(offered.all_endpoints());
                            }
                        }
                    }
                }
            }
        }
    }

    /// What a replica that is not followed is told of its snapshot.
    fn early(&self, version: String) -> Up {
        if version == self.serving_version() {
            return Up::Ack(Ack { version });
        }
        match &*self.verdicts.borrow() {
            Some(verdict) if verdict.version == version && verdict.outcome.is_err() => {
                answer(version, verdict.outcome.clone())
            }
            _ => Up::Held(Held { version }),
        }
    }
}

type Answered = std::pin::Pin<
    Box<
        dyn Future<
                Output = (
                    String,
                    Result<Result<(), Vec<Rejection>>, oneshot::error::RecvError>,
                ),
            > + Send,
    >,
>;

/// What a replica said last, for when it is followed.
#[derive(Default)]
struct Offered {
    snapshot: Option<Snapshot>,
    endpoints: BTreeMap<String, Endpoints>,
    peers: Option<v1::Peers>,
    as_of: i64,
}

impl Offered {
    fn snapshot(&mut self, snapshot: Snapshot) {
        // A replica does not repeat the addresses of backends that stay.
        self.endpoints
            .retain(|id, _| snapshot.backends.iter().any(|backend| backend.id == *id));
        self.snapshot = Some(snapshot);
    }

    fn version(&self) -> Option<&str> {
        self.snapshot.as_ref().map(|snapshot| &*snapshot.version)
    }

    fn endpoints(&mut self, endpoints: Endpoints) {
        self.endpoints
            .insert(endpoints.backend_id.clone(), endpoints);
    }

    fn try_snapshot(&self, answers: &mut FuturesOrdered<Answered>) -> Option<Change> {
        let snapshot = self.snapshot.clone()?;
        let version = snapshot.version.clone();
        let (reply, verdict) = oneshot::channel();
        answers.push_back(Box::pin(async move { (version, verdict.await) }));
        Some(Change::Snapshot(snapshot, reply))
    }

    fn all_endpoints(&self) -> impl Iterator<Item = Change> {
        self.endpoints.values().cloned().map(Change::Endpoints)
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
