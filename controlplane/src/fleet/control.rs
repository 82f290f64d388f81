//! The gRPC service `Control`: one task for each session, which moves its messages.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use tidegate_proto::v1::{
    self, control_server::Control, session_down::Message as Down, session_up::Message as Up,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};

use super::{
    Entry, Fleet,
    entry::Pass,
    feed::Feed,
    session::{Commands, Ended, Session},
};

/// Most messages that wait for a dataplane to read. More stay where they are: newer
/// configuration replaces older, and commands wait in their own bounded queue.
const OUTBOX: usize = 1;
/// Longest name of a dataplane or its run. A host name has at most 253.
const LONGEST_NAME: usize = 253;

/// Serves dataplanes on behalf of a fleet.
pub(crate) struct ControlService {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) entry: Entry,
}

type Sender = mpsc::Sender<Result<v1::SessionDown, Status>>;

#[tonic::async_trait]
impl Control for ControlService {
    type SessionStream = ReceiverStream<Result<v1::SessionDown, Status>>;

    /// Answers at once, so that a dataplane may wait for the answer before it says Hello.
    async fn session(
        &self,
        request: Request<Streaming<v1::SessionUp>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let pass = self.entry.pass(&request)?;
        let (sender, receiver) = mpsc::channel(OUTBOX);
        let fleet = Arc::clone(&self.fleet);
        tokio::spawn(serve(fleet, pass, request.into_inner(), sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

async fn serve(fleet: Arc<Fleet>, pass: Pass, mut up: Streaming<v1::SessionUp>, down: Sender) {
    let hello = match timeout(fleet.patience.hello, first_message(&mut up)).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(status)) => return refuse(&down, status),
        Err(_) => return refuse(&down, Status::deadline_exceeded("no Hello came")),
    };
    if let Err(status) = pass.check(&hello) {
        return refuse(&down, status);
    }
    let (session, commands) = fleet.session(hello);
    if let Err(status) = fleet.attach(Arc::clone(&session)) {
        return refuse(&down, status);
    }
    let attached = Attached {
        fleet: &fleet,
        session: &session,
    };
    let exchange = Exchange::new(&fleet, &session, &down);
    let ended = tokio::select! {
        ended = exchange.run(up, commands) => ended,
        () = pass.expired() => Ended::Expired,
    };
    attached.detach(ended);
    // Best effort: a dataplane that reads is told why.
    let _ = down.try_send(Err(status_of(ended)));
}

/// Takes the session out of the fleet even if its task is dropped.
struct Attached<'a> {
    fleet: &'a Fleet,
    session: &'a Arc<Session>,
}

impl Attached<'_> {
    fn detach(self, ended: Ended) {
        self.fleet.detach(self.session, ended);
        std::mem::forget(self);
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.fleet.detach(self.session, Ended::Stopping);
    }
}

/// What goes to and fro in one session.
struct Exchange<'a> {
    fleet: &'a Fleet,
    session: &'a Session,
    down: &'a Sender,
    feed: Feed,
    outbox: VecDeque<v1::SessionDown>,
    /// What it was told of its peers.
    peers: Option<v1::Peers>,
    /// When the answer to the snapshot in flight is given up.
    deadline: Instant,
}

impl<'a> Exchange<'a> {
    fn new(fleet: &'a Fleet, session: &'a Session, down: &'a Sender) -> Self {
        let feed = Feed::new(session.hello().gateway.clone());
        Self {
            fleet,
            session,
            down,
            feed,
            outbox: VecDeque::new(),
            peers: None,
            deadline: Instant::now(),
        }
    }

    async fn run(mut self, mut up: Streaming<v1::SessionUp>, mut commands: Commands) -> Ended {
        let mut configuration = self.fleet.configuration.subscribe();
        let mut peering = self.fleet.peering.changes();
        let relays = !self.session.hello().relay_address.is_empty();
        // When the peers are to be looked at again.
        let mut peers_due = relays.then(Instant::now);
        loop {
            // Only into an empty box: what a slow dataplane was not sent yet is skipped.
            if self.outbox.is_empty() {
                let published = configuration.borrow_and_update().clone();
                if let Some(now) = published {
                    let stamped = |message| v1::SessionDown {
                        message: Some(message),
                        as_of_ms: now.as_of_ms,
                    };
                    self.outbox
                        .extend(self.feed.advance(&now).into_iter().map(stamped));
                }
                let due = peers_due.is_some_and(|due| due <= Instant::now());
                if relays && (due || peering.has_changed().unwrap_or_default()) {
                    peering.mark_unchanged();
                    peers_due = self.tell_peers();
                }
            }
            tokio::select! {
                ended = self.session.ended() => return ended,
                message = up.message() => match message {
                    Ok(Some(message)) => {
                        if let Err(ended) = self.receive(message) {
                            return ended;
                        }
                    }
                    Ok(None) => return Ended::Disconnected,
                    Err(status) => {
                        debug!(dataplane = %self.name(), %status, "session broke");
                        return Ended::Disconnected;
                    }
                },
                permit = self.down.reserve(), if !self.outbox.is_empty() => {
                    let Ok(permit) = permit else { return Ended::Disconnected };
                    if let Some(message) = self.outbox.pop_front() {
                        self.count(&message);
                        permit.send(Ok(message));
                    }
                }
                Some(command) = commands.recv(), if self.outbox.is_empty() => {
                    self.outbox.push_back(v1::SessionDown {
                        message: Some(Down::Command(command)),
                        as_of_ms: 0,
                    });
                }
                changed = configuration.changed(), if self.outbox.is_empty() => {
                    if changed.is_err() {
                        return Ended::Stopping;
                    }
                }
                Ok(()) = peering.changed(), if relays && self.outbox.is_empty() => {
                    peers_due = Some(Instant::now());
                }
                () = sleep_until(peers_due.unwrap_or(self.deadline)),
                    if peers_due.is_some() && self.outbox.is_empty() => {}
                () = sleep_until(self.deadline), if self.awaits_answer() => self.give_up(),
            }
        }
    }

    /// Puts the peers into the outbox if they are others than it was told. Returns when to
    /// look again.
    fn tell_peers(&mut self) -> Option<Instant> {
        let (peers, next) = self.fleet.peers(&self.session.hello().gateway);
        if self.peers.as_ref() != Some(&peers) {
            self.peers = Some(peers.clone());
            self.outbox.push_back(v1::SessionDown {
                message: Some(Down::Peers(peers)),
                as_of_ms: 0,
            });
        }
        next
    }

    fn receive(&mut self, message: v1::SessionUp) -> Result<(), Ended> {
        match message.message {
            Some(Up::Ack(v1::Ack { version })) => {
                self.feed.answered(&version, true);
                debug!(dataplane = %self.name(), version, "snapshot acknowledged");
                self.session.acked(version);
                self.fleet.answered();
            }
            Some(Up::Nack(nack)) => {
                self.feed.answered(&nack.version, false);
                for v1::Rejection {
                    object,
                    field,
                    message,
                } in &nack.rejections
                {
                    warn!(dataplane = %self.name(), version = %nack.version, object, field,
                        message, "snapshot refused; the one before serves on");
                }
                self.session.nacked(nack);
                self.fleet.answered();
            }
            Some(Up::Held(v1::Held { version })) => {
                // Its Ack comes when it is in service; another replica sees to that.
                self.feed.answered(&version, true);
                debug!(dataplane = %self.name(), version, "snapshot held; another replica is followed");
            }
            Some(Up::Reply(reply)) => self.session.replied(reply),
            Some(Up::State(state)) => self.session.stands(state),
            Some(Up::Hello(_)) => {
                warn!(dataplane = %self.name(), "a second Hello in one session");
                return Err(Ended::Protocol);
            }
            // A message of a newer protocol.
            None => {}
        }
        Ok(())
    }

    fn count(&mut self, message: &v1::SessionDown) {
        if let Some(Down::Snapshot(snapshot)) = &message.message {
            self.deadline = Instant::now() + self.fleet.patience.answer;
            self.fleet.instruments.snapshots_sent.add(1, &[]);
            debug!(dataplane = %self.name(), version = %snapshot.version, "snapshot sent");
        }
    }

    /// Whether the snapshot in flight has left.
    fn awaits_answer(&self) -> bool {
        self.feed.in_flight().is_some() && self.outbox.is_empty()
    }

    fn give_up(&mut self) {
        warn!(dataplane = %self.name(), version = self.feed.in_flight(),
            "no answer to a snapshot");
        self.session.unanswered();
        self.feed.give_up();
    }

    fn name(&self) -> &str {
        &self.session.hello().dataplane_id
    }
}

async fn first_message(up: &mut Streaming<v1::SessionUp>) -> Result<v1::Hello, Status> {
    let first = up.message().await?.and_then(|first| first.message);
    let Some(Up::Hello(hello)) = first else {
        return Err(Status::invalid_argument(
            "the first message of a session is Hello",
        ));
    };
    for (field, name) in [
        ("dataplane_id", &hello.dataplane_id),
        ("instance_id", &hello.instance_id),
    ] {
        if name.is_empty() || name.len() > LONGEST_NAME {
            let range = format!("Hello: {field} needs 1 to {LONGEST_NAME} bytes");
            return Err(Status::invalid_argument(range));
        }
    }
    let address = &hello.relay_address;
    if !address.is_empty() && address.parse::<SocketAddr>().is_err() {
        return Err(Status::invalid_argument(
            "Hello: relay_address is ip:port, or empty",
        ));
    }
    Ok(hello)
}

fn refuse(down: &Sender, status: Status) {
    warn!(%status, "session refused");
    // The channel is empty, or its receiver gone.
    let _ = down.try_send(Err(status));
}

fn status_of(ended: Ended) -> Status {
    match ended {
        Ended::Disconnected => Status::cancelled("the session ended"),
        Ended::Replaced => Status::aborted("this dataplane began another session"),
        Ended::Protocol => Status::invalid_argument("one Hello begins a session"),
        Ended::Stopping => Status::unavailable("this control plane is stopping"),
        Ended::Expired => Status::unauthenticated("the certificate of this session has expired"),
    }
}
