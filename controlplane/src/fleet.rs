//! The dataplanes, and everything that is said to them and by them.
//!
//! Owns the sessions by dataplane, the configuration that they are to serve, and the
//! events that pass. `control` holds each session, `report` takes records into the
//! history, `publish` computes the configuration. `api` looks in here and sends commands.
//! Never here: a rule of the Gateway API, or a table of connections: a connection's id
//! names its dataplane, which is asked.

mod control;
mod entry;
mod events;
mod feed;
mod peers;
mod publish;
mod ready;
mod report;
mod session;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use opentelemetry::KeyValue;
use tidegate_proto::v1::{self, command, command_reply};
use tokio::{sync::watch, time::Instant};
use tonic::Status;
use tracing::{info, warn};

pub(crate) use self::{
    control::ControlService,
    entry::Entry,
    events::{EventStream, Seen},
    publish::publish,
    ready::readiness,
    report::TelemetryService,
};
use self::{events::Events, peers::Peering, session::Session};
pub use self::{
    publish::Published,
    ready::NotReady,
    session::{CommandFailure, Ended},
};
use crate::{
    clock::unix_millis, provision::Failures, status::Acknowledgement, telemetry::Instruments,
};

/// How long the fleet waits for a dataplane.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the reply to a command.
    pub reply: Duration,
    /// For the first message of a session.
    pub hello: Duration,
    /// For the answer to a snapshot, before a newer one is sent all the same.
    pub answer: Duration,
    /// For one without a session to be given up by those that relay to it.
    pub absence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            reply: Duration::from_secs(5),
            hello: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            absence: Duration::from_secs(60),
        }
    }
}

/// The dataplanes of this control plane.
pub struct Fleet {
    sessions: Mutex<BTreeMap<String, Arc<Session>>>,
    peering: Peering,
    configuration: watch::Sender<Option<Arc<Published>>>,
    /// How often a dataplane has answered, come or gone.
    answering: watch::Sender<u64>,
    /// Gateways whose dataplanes cannot be made, and why.
    not_provisioned: Mutex<Failures>,
    stopping: watch::Sender<bool>,
    events: Events,
    instruments: Instruments,
    patience: Patience,
}

impl Fleet {
    pub(crate) fn new(instruments: Instruments, patience: Patience) -> Self {
        Self {
            sessions: Mutex::default(),
            peering: Peering::new(Instant::now()),
            configuration: watch::Sender::new(None),
            answering: watch::Sender::new(0),
            not_provisioned: Mutex::default(),
            stopping: watch::Sender::new(false),
            events: Events::new(instruments.clone()),
            instruments,
            patience,
        }
    }

    /// The configuration as it is now; none before the source was read.
    pub fn configuration(&self) -> Option<Arc<Published>> {
        self.configuration.borrow().clone()
    }

    /// The same, with a wake-up whenever it changes.
    pub fn configurations(&self) -> watch::Receiver<Option<Arc<Published>>> {
        self.configuration.subscribe()
    }

    /// A wake-up whenever a dataplane has answered, come or gone.
    pub fn answering(&self) -> watch::Receiver<u64> {
        self.answering.subscribe()
    }

    /// Whether every dataplane has said what it makes of the configuration.
    pub fn has_answered(&self) -> bool {
        let Some(published) = self.configuration() else {
            return false;
        };
        self.dataplanes().into_iter().all(|dataplane| {
            let gateway = dataplane
                .hello
                .map(|hello| hello.gateway)
                .unwrap_or_default();
            published.snapshot(&gateway).is_none_or(|snapshot| {
                let refused = dataplane
                    .nack
                    .is_some_and(|nack| nack.version == snapshot.version);
                refused || dataplane.acked_version == snapshot.version
            })
        })
    }

    /// The dataplanes that hold a session, in order of id.
    pub fn dataplanes(&self) -> Vec<v1::Dataplane> {
        self.locked()
            .values()
            .map(|session| session.describe())
            .collect()
    }

    /// Handshakes and closes from now on.
    pub(crate) fn events(&self) -> EventStream {
        self.events.subscribe(self.stopping.subscribe())
    }

    /// Says of which Gateways the dataplanes cannot be made.
    pub(crate) fn not_provisioned(&self, failures: Failures) {
        let mut known = self
            .not_provisioned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *known != failures {
            *known = failures;
            drop(known);
            self.answered();
        }
    }

    /// Gateways whose dataplanes cannot be made, and why.
    pub(crate) fn provisioning_failures(&self) -> Failures {
        let known = self.not_provisioned.lock();
        known.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What dataplanes answered, by snapshot version.
    pub fn answers(&self) -> BTreeMap<String, Acknowledgement> {
        let mut answers = BTreeMap::<_, Acknowledgement>::new();
        for dataplane in self.dataplanes() {
            let id = dataplane
                .hello
                .map(|hello| hello.dataplane_id)
                .unwrap_or_default();
            if let Some(nack) = dataplane.nack {
                let answer = answers.entry(nack.version).or_default();
                answer.nacked.insert(id.clone(), nack.rejections);
            }
            if !dataplane.acked_version.is_empty() {
                answers
                    .entry(dataplane.acked_version)
                    .or_default()
                    .acked
                    .insert(id);
            }
        }
        answers
    }

    /// Sends a command and waits for its reply. Dropping the future forgets it.
    pub async fn command(
        &self,
        dataplane: &str,
        kind: command::Kind,
    ) -> Result<command_reply::Kind, CommandFailure> {
        let session = self.locked().get(dataplane).cloned();
        let Some(session) = session else {
            return Err(CommandFailure::UnknownDataplane(dataplane.to_owned()));
        };
        let (name, started) = (name_of(&kind), Instant::now());
        let result = session.command(kind, self.patience.reply).await;
        let outcome = result
            .as_ref()
            .map_or_else(CommandFailure::label, |_| "done");
        self.instruments.command_duration.record(
            started.elapsed().as_secs_f64(),
            &[
                KeyValue::new("command", name),
                KeyValue::new("outcome", outcome),
            ],
        );
        result
    }

    /// Ends every session and stream; what is asked later fails.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
        for session in self.locked().values() {
            session.end(Ended::Stopping);
        }
    }

    /// Takes a dataplane in. A session of the same dataplane ends: it is the one that
    /// the dataplane gave up, or another process with the same name. One of another
    /// Gateway does not take its place.
    fn attach(&self, session: Arc<Session>) -> Result<(), Status> {
        let id = session.hello().dataplane_id.clone();
        let before = {
            let mut sessions = self.locked();
            if let Some(before) = sessions.get(&id)
                && before.hello().gateway != session.hello().gateway
            {
                return Err(Status::already_exists(format!(
                    "dataplane `{id}` has a session for Gateway `{}`: give each dataplane a \
                     name of its own",
                    before.hello().gateway
                )));
            }
            sessions.insert(id.clone(), Arc::clone(&session))
        };
        self.instruments.sessions.add(1, &[]);
        self.peering.came(&id);
        self.answered();
        if let Some(before) = before {
            if before.hello().instance_id != session.hello().instance_id {
                warn!(dataplane = %id, before = %before.hello().instance_id,
                    instance = %session.hello().instance_id,
                    "another run of this dataplane took its place");
            }
            before.end(Ended::Replaced);
        }
        if *self.stopping.borrow() {
            session.end(Ended::Stopping);
        }
        info!(dataplane = %id, instance = %session.hello().instance_id,
            gateway = %session.hello().gateway, build = %session.hello().build_version,
            "dataplane connected");
        Ok(())
    }

    fn detach(&self, session: &Arc<Session>, ended: Ended) {
        session.end(ended);
        let id = &session.hello().dataplane_id;
        let mut sessions = self.locked();
        if sessions
            .get(id)
            .is_some_and(|current| Arc::ptr_eq(current, session))
        {
            sessions.remove(id);
            self.peering
                .went(session.hello(), self.patience.absence, Instant::now());
        }
        drop(sessions);
        self.instruments.sessions.add(-1, &[]);
        self.answered();
        self.instruments
            .sessions_ended
            .add(1, &[KeyValue::new("reason", ended.label())]);
        info!(dataplane = %id, reason = ended.label(), "dataplane disconnected");
    }

    /// The dataplanes of a Gateway, and when that changes by itself.
    fn peers(&self, gateway: &str) -> (v1::Peers, Option<Instant>) {
        let sessions = self.locked();
        let present = sessions.values().map(|session| session.hello());
        self.peering
            .of(gateway, present, self.patience.absence, Instant::now())
    }

    fn answered(&self) {
        self.answering
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn session(&self, hello: v1::Hello) -> (Arc<Session>, session::Commands) {
        Session::new(hello, unix_millis(), self.instruments.clone())
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Session>>> {
        // Nothing that holds the lock can panic half way through a change.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name_of(kind: &command::Kind) -> &'static str {
    match kind {
        command::Kind::List(_) => "list",
        command::Kind::Show(_) => "show",
        command::Kind::Close(_) => "close",
        command::Kind::CloseSelected(_) => "close_selected",
        command::Kind::Drain(_) => "drain",
        command::Kind::Undrain(_) => "undrain",
        command::Kind::BeginCapture(_) => "begin_capture",
        command::Kind::CaptureNext(_) => "capture_next",
        command::Kind::ReadCapture(_) => "read_capture",
        command::Kind::StopCapture(_) => "stop_capture",
    }
}

#[cfg(test)]
mod tests;
