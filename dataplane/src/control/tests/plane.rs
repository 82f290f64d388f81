//! A data plane's control side between a control plane of the test's own, over a real
//! socket, and shards that only pretend to serve.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tidegate_proto::v1::{
    self, Hello, ListenerState, Rejection, SessionDown, SessionUp,
    control_server::{Control, ControlServer},
    session_down::Message as Down,
    session_up::Message as Up,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use super::super::{
    Applier, Cache, Commander, Dialer, Following, Link, Replica as Address, Reports,
};
use crate::{
    audit,
    metrics::ControlMetrics,
    shard::{Applied, ShardCommand, ShardReport},
    snapshot::Configuration,
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One session, as the control plane has it.
pub(crate) struct Session {
    pub(crate) hello: Hello,
    up: Streaming<SessionUp>,
    down: mpsc::Sender<Result<SessionDown, Status>>,
}

impl Session {
    pub(super) async fn send(&self, message: Down) {
        let message = SessionDown {
            message: Some(message),
            as_of_ms: 0,
        };
        self.down
            .send(Ok(message))
            .await
            .expect("the session lives");
    }

    pub(crate) async fn snapshot(&self, snapshot: &v1::Snapshot) {
        self.send(Down::Snapshot(snapshot.clone())).await;
    }

    /// The next message that `pick` wants; others are passed over.
    pub(super) async fn next<T>(&mut self, pick: impl Fn(Up) -> Option<T>) -> T {
        let next = async {
            loop {
                let message = self.up.message().await.expect("no error").expect("no end");
                if let Some(found) = message.message.and_then(&pick) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, next).await.expect("in time")
    }

    pub(crate) async fn acked(&mut self) -> String {
        self.next(|up| match up {
            Up::Ack(ack) => Some(ack.version),
            Up::Nack(nack) => panic!("refused: {nack:?}"),
            _ => None,
        })
        .await
    }

    /// As of a time.
    pub(super) async fn snapshot_of(&self, snapshot: &v1::Snapshot, as_of_ms: i64) {
        let message = SessionDown {
            message: Some(Down::Snapshot(snapshot.clone())),
            as_of_ms,
        };
        let sent = self.down.send(Ok(message)).await;
        sent.expect("the session lives");
    }

    pub(super) async fn held(&mut self) -> String {
        self.next(|up| match up {
            Up::Held(held) => Some(held.version),
            Up::Ack(ack) => panic!("taken: {ack:?}"),
            _ => None,
        })
        .await
    }

    pub(crate) async fn nacked(&mut self) -> v1::Nack {
        self.next(|up| match up {
            Up::Nack(nack) => Some(nack),
            Up::Ack(ack) => panic!("taken: {ack:?}"),
            _ => None,
        })
        .await
    }

    pub(super) async fn command(
        &mut self,
        id: u64,
        kind: v1::command::Kind,
    ) -> v1::command_reply::Kind {
        self.send(Down::Command(v1::Command {
            id,
            kind: Some(kind),
        }))
        .await;
        self.next(|up| match up {
            Up::Reply(reply) if reply.id == id => reply.kind,
            _ => None,
        })
        .await
    }
}

struct Service(mpsc::Sender<Session>);

#[tonic::async_trait]
impl Control for Service {
    type SessionStream = ReceiverStream<Result<SessionDown, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionUp>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut up = request.into_inner();
        let Some(Up::Hello(hello)) = up.message().await?.and_then(|first| first.message) else {
            return Err(Status::invalid_argument("the first message is no Hello"));
        };
        let (down, receiver) = mpsc::channel(16);
        let session = Session { hello, up, down };
        let sent = self.0.send(session).await;
        sent.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// A control plane whose sessions the test holds.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    sessions: mpsc::Receiver<Session>,
}

impl Replica {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, sessions) = mpsc::channel(4);
        let service = ControlServer::new(Service(sender));
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        Self { address, sessions }
    }

    pub(crate) async fn session(&mut self) -> Session {
        timeout(PATIENCE, self.sessions.recv())
            .await
            .expect("in time")
            .expect("a session")
    }
}

/// What the pretended shards do, and what they were told.
#[derive(Default)]
pub(super) struct Stage {
    /// By version: the shard that refuses it.
    pub(super) refuses: Mutex<BTreeMap<String, usize>>,
    /// Connections of each shard, by slot.
    pub(super) connections: Mutex<Vec<Vec<u32>>>,
    pub(super) closes: Mutex<Vec<Close>>,
    pub(super) drains: Mutex<Vec<(usize, Option<String>, Duration)>>,
}

/// An order to close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Close {
    pub(super) shard: usize,
    pub(super) slot: u32,
    pub(super) error_code: u64,
    pub(super) reason: Vec<u8>,
}

/// Control side of a data plane named `edge` with two shards.
pub(super) struct Plane {
    pub(super) stage: Arc<Stage>,
    pub(super) serving: super::super::Serving,
    /// What the shards are told to serve.
    pub(super) configuration: watch::Receiver<Option<Arc<Configuration>>>,
    pub(super) reports: Reports,
    _tasks: JoinSet<()>,
}

impl Plane {
    pub(super) fn start(replicas: &[SocketAddr], cache: Option<PathBuf>) -> Self {
        let stage = Arc::new(Stage::default());
        *stage.connections.lock().unwrap() = vec![Vec::new(); SHARDS];
        let mut tasks = JoinSet::new();
        let (to_shards, configuration) = watch::channel(None);
        let (applied_to, applied) = mpsc::channel(16);
        let mut shards = Vec::new();
        for index in 0..SHARDS {
            let (commands, inbox) = mpsc::channel(16);
            shards.push(commands);
            let shard = pretend(
                index,
                configuration.clone(),
                applied_to.clone(),
                inbox,
                stage.clone(),
            );
            tasks.spawn(shard);
        }

        let metrics = Arc::new(ControlMetrics::default());
        let (changes, changed) = mpsc::channel(16);
        let cache = cache.map(|folder| Cache::new(&folder));
        let applier = Applier::new(changed, SHARDS, to_shards, applied, cache, metrics.clone());
        let (serving, verdicts) = (applier.serving(), applier.verdicts());
        let following = Arc::new(Following::default());
        tasks.spawn(applier.run());
        let (sink, _spool) = audit::channel(1);
        let reports = Reports::new(shards.clone(), serving.clone(), sink.ledger());
        let commander = Commander::new(
            "edge".into(),
            shards,
            serving.clone(),
            reports.clone(),
            metrics.clone(),
        );
        let commander = Arc::new(commander);
        let (states, state) = watch::channel(v1::DataplaneState::default());
        let watching = reports.clone();
        tasks.spawn(async move {
            watching.watch(states).await;
        });
        for address in replicas {
            let link = Link {
                replica: Address {
                    address: *address,
                    name: None,
                },
                dialer: Dialer::default(),
                hello: Hello {
                    dataplane_id: "edge".into(),
                    instance_id: "first".into(),
                    shards: SHARDS as u32,
                    ..Default::default()
                },
                changes: changes.clone(),
                serving: serving.clone(),
                verdicts: verdicts.clone(),
                following: following.clone(),
                commander: commander.clone(),
                states: state.clone(),
                peers: watch::Sender::default(),
                metrics: metrics.clone(),
            };
            tasks.spawn(link.keep());
        }
        Self {
            stage,
            serving,
            configuration,
            reports,
            _tasks: tasks,
        }
    }

    pub(super) fn version(&self) -> Option<String> {
        version(&self.serving)
    }
}

pub(super) fn version(watched: &watch::Receiver<Option<Arc<Configuration>>>) -> Option<String> {
    watched
        .borrow()
        .as_ref()
        .map(|configuration| configuration.snapshot.version.clone())
}

async fn pretend(
    index: usize,
    mut configuration: watch::Receiver<Option<Arc<Configuration>>>,
    applied: mpsc::Sender<Applied>,
    mut commands: mpsc::Receiver<ShardCommand>,
    stage: Arc<Stage>,
) {
    let mut serving = None;
    loop {
        tokio::select! {
            Ok(()) = configuration.changed() => {
                let Some(next) = configuration.borrow_and_update().clone() else { continue };
                let version = next.snapshot.version.clone();
                let refused = stage.refuses.lock().unwrap().get(&version) == Some(&index);
                let mut rejections = Vec::new();
                if refused {
                    rejections.push(Rejection {
                        object: "default/edge/http".into(),
                        field: "port".into(),
                        message: "address in use".into(),
                    });
                } else {
                    serving = Some(next);
                }
                let said = Applied { shard: index as u8, version, rejections };
                if applied.send(said).await.is_err() {
                    return;
                }
            }
            command = commands.recv() => match command {
                Some(command) => obey(index, command, serving.as_deref(), &stage),
                None => return,
            },
        }
    }
}

fn obey(index: usize, command: ShardCommand, serving: Option<&Configuration>, stage: &Stage) {
    let connections = stage.connections.lock().unwrap()[index].clone();
    let describe = |slot: &u32| v1::Connection {
        id: format!("edge.{index}.{slot}.7"),
        ..Default::default()
    };
    match command {
        ShardCommand::List {
            after,
            limit,
            reply,
            ..
        } => {
            let after = after.map(|(slot, _)| slot);
            let page = connections
                .iter()
                .filter(|slot| Some(**slot) > after)
                .take(limit);
            drop(reply.send(Ok(page.map(describe).collect())));
        }
        ShardCommand::Show { slot, reply, .. } => {
            drop(reply.send(connections.contains(&slot).then(|| describe(&slot))));
        }
        ShardCommand::Close {
            slot,
            behaviour,
            reply,
            ..
        } => {
            let known = connections.contains(&slot);
            if known {
                let close = Close {
                    shard: index,
                    slot,
                    error_code: behaviour.error_code,
                    reason: behaviour.reason,
                };
                stage.closes.lock().unwrap().push(close);
            }
            let _gone = reply.send(known);
        }
        ShardCommand::CloseSelected { reply, .. } => drop(reply.send(Ok(connections.len() as u64))),
        ShardCommand::Drain {
            listener,
            deadline,
            reply,
        } => {
            stage
                .drains
                .lock()
                .unwrap()
                .push((index, listener, deadline));
            let _gone = reply.send(());
        }
        ShardCommand::Capture { reply, .. } => {
            let _gone = reply.send(Err(crate::capture::Refused::Gone));
        }
        ShardCommand::Arm { reply, .. } => drop(reply.send(())),
        ShardCommand::Undrain { reply, .. } => {
            stage
                .drains
                .lock()
                .unwrap()
                .retain(|(shard, ..)| *shard != index);
            let _gone = reply.send(());
        }
        ShardCommand::State { reply } => {
            let listeners = serving
                .into_iter()
                .flat_map(|serving| serving.snapshot.listeners());
            let state = |id: &str| ListenerState {
                id: id.into(),
                tcp_up: true,
                quic_up: true,
                ..Default::default()
            };
            let drains = stage.drains.lock().unwrap();
            drop(
                reply.send(ShardReport {
                    listeners: listeners.map(|listener| state(&listener.id)).collect(),
                    connections: connections.len() as u64,
                    draining: drains
                        .iter()
                        .any(|(shard, listener, _)| *shard == index && listener.is_none()),
                }),
            );
        }
        ShardCommand::Stop => {}
    }
}

const SHARDS: usize = 2;
