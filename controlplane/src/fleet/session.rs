//! One dataplane's session: who it is, what it answered, and the commands that wait for
//! a reply. `control` moves its messages.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use opentelemetry::KeyValue;
use tidegate_proto::v1::{self, command, command_reply};
use tokio::sync::{mpsc, oneshot, watch};

use crate::telemetry::Instruments;

/// Commands that may wait for a reply at once. An operator has one or a few; more means
/// that the dataplane does not keep up.
const MOST_PENDING: usize = 64;

/// Commands on their way to a dataplane.
pub(super) type Commands = mpsc::Receiver<v1::Command>;

/// Why a command has no reply.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum CommandFailure {
    /// No dataplane of that name holds a session.
    #[error("dataplane `{0}` is not connected")]
    UnknownDataplane(String),
    /// Too many commands wait already.
    #[error("dataplane `{0}` has too many commands to answer: try again later")]
    Busy(String),
    /// It did not answer in time. Whether it did what was asked is unknown.
    #[error("dataplane `{0}` did not answer in time")]
    Timeout(String),
    /// Its session ended first. Whether it did what was asked is unknown.
    #[error("dataplane `{0}` disconnected before it answered")]
    Disconnected(String),
    /// It answered that it will not.
    #[error("{}", .0.message)]
    Refused(v1::CommandError),
}

impl CommandFailure {
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::UnknownDataplane(_) => "unknown",
            Self::Busy(_) => "busy",
            Self::Timeout(_) => "timeout",
            Self::Disconnected(_) => "disconnected",
            Self::Refused(_) => "refused",
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The dataplane ended it, or the network did.
    Disconnected,
    /// The same dataplane began another one.
    Replaced,
    /// It did not speak the protocol.
    Protocol,
    /// This control plane is stopping.
    Stopping,
    /// The certificate with which it began is no longer valid.
    Expired,
}

impl Ended {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Replaced => "replaced",
            Self::Protocol => "protocol",
            Self::Stopping => "stopping",
            Self::Expired => "expired",
        }
    }
}

/// What a dataplane said last.
#[derive(Clone, Debug, Default)]
struct Standing {
    acked_version: String,
    nack: Option<v1::Nack>,
    state: Option<v1::DataplaneState>,
}

#[derive(Default)]
struct Pending {
    last_id: u64,
    waiting: HashMap<u64, oneshot::Sender<command_reply::Kind>>,
    ended: bool,
}

pub(super) struct Session {
    hello: v1::Hello,
    connected_at_ms: i64,
    standing: Mutex<Standing>,
    commands: mpsc::Sender<v1::Command>,
    pending: Mutex<Pending>,
    ended: watch::Sender<Option<Ended>>,
    instruments: Instruments,
}

impl Session {
    pub(super) fn new(
        hello: v1::Hello,
        connected_at_ms: i64,
        instruments: Instruments,
    ) -> (Arc<Self>, Commands) {
        let (commands, receiver) = mpsc::channel(MOST_PENDING);
        let session = Self {
            hello,
            connected_at_ms,
            standing: Mutex::default(),
            commands,
            pending: Mutex::default(),
            ended: watch::Sender::new(None),
            instruments,
        };
        (Arc::new(session), receiver)
    }

    pub(super) fn hello(&self) -> &v1::Hello {
        &self.hello
    }

    pub(super) fn describe(&self) -> v1::Dataplane {
        let Standing {
            acked_version,
            nack,
            state,
        } = locked(&self.standing).clone();
        let (hello, connected_at_ms) = (Some(self.hello.clone()), self.connected_at_ms);
        v1::Dataplane {
            hello,
            connected_at_ms,
            acked_version,
            nack,
            state,
        }
    }

    /// Every shard of the dataplane serves a version.
    pub(super) fn acked(&self, version: String) {
        self.count_answer("ack");
        let mut standing = locked(&self.standing);
        standing.acked_version = version;
        standing.nack = None;
    }

    /// The dataplane refused a version, and serves the one before.
    pub(super) fn nacked(&self, nack: v1::Nack) {
        self.count_answer("nack");
        locked(&self.standing).nack = Some(nack);
    }

    /// It never said what it made of a version.
    pub(super) fn unanswered(&self) {
        self.count_answer("none");
    }

    pub(super) fn stands(&self, state: v1::DataplaneState) {
        locked(&self.standing).state = Some(state);
    }

    /// Asks the dataplane for something and waits for what it says. The place of a
    /// command in the table is given back however the wait ends.
    pub(super) async fn command(
        &self,
        kind: command::Kind,
        patience: Duration,
    ) -> Result<command_reply::Kind, CommandFailure> {
        let name = || self.hello.dataplane_id.clone();
        let (place, reply) = self.reserve()?;
        self.commands
            .try_send(v1::Command {
                id: place.id,
                kind: Some(kind),
            })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => CommandFailure::Busy(name()),
                mpsc::error::TrySendError::Closed(_) => CommandFailure::Disconnected(name()),
            })?;
        match tokio::time::timeout(patience, reply).await {
            Ok(Ok(command_reply::Kind::Error(error))) => Err(CommandFailure::Refused(error)),
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(CommandFailure::Disconnected(name())),
            Err(_) => Err(CommandFailure::Timeout(name())),
        }
    }

    /// Hands a reply to who waits for it. One that came too late is counted.
    pub(super) fn replied(&self, reply: v1::CommandReply) {
        let waiting = locked(&self.pending).waiting.remove(&reply.id);
        let delivered = match (waiting, reply.kind) {
            (Some(waiting), Some(kind)) => waiting.send(kind).is_ok(),
            _ => false,
        };
        if !delivered {
            self.instruments.replies_unexpected.add(1, &[]);
        }
    }

    /// Ends the session for the first reason that is given; who waits is told.
    pub(super) fn end(&self, reason: Ended) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(reason);
            first
        });
        let mut pending = locked(&self.pending);
        pending.ended = true;
        pending.waiting.clear();
    }

    /// Waits until someone ends it.
    pub(super) async fn ended(&self) -> Ended {
        let mut ended = self.ended.subscribe();
        let reason = ended
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|reason| *reason);
        // The sender lives in `self`.
        reason.unwrap_or(Ended::Disconnected)
    }

    fn reserve(
        &self,
    ) -> Result<(Place<'_>, oneshot::Receiver<command_reply::Kind>), CommandFailure> {
        let mut pending = locked(&self.pending);
        if pending.ended {
            return Err(CommandFailure::Disconnected(
                self.hello.dataplane_id.clone(),
            ));
        }
        if pending.waiting.len() >= MOST_PENDING {
            return Err(CommandFailure::Busy(self.hello.dataplane_id.clone()));
        }
        pending.last_id += 1;
        let id = pending.last_id;
        let (sender, receiver) = oneshot::channel();
        pending.waiting.insert(id, sender);
        Ok((Place { session: self, id }, receiver))
    }

    fn count_answer(&self, answer: &'static str) {
        self.instruments
            .snapshot_answers
            .add(1, &[KeyValue::new("answer", answer)]);
    }
}

/// A command's place in the table of those that wait.
struct Place<'a> {
    session: &'a Session,
    id: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        locked(&self.session.pending).waiting.remove(&self.id);
    }
}

/// Nothing that holds these locks can panic half way through a change.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
