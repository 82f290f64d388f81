//! One pinned thread of the data plane.
//!
//! A shard owns its sockets, its connections, its upstream pools and the configuration
//! that it serves. Nothing on it is shared with another thread but through the edges of
//! [`edges`]: configuration and commands come in, what was applied and records go out,
//! and datagrams that landed on the wrong shard go sideways. The one exception is the
//! register of early flights, because a copy may come to any shard.

mod apply;
mod bound;
mod commands;
pub mod edges;
mod host;
mod relay;
mod selector;
mod serve;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    net::{SocketAddr, UdpSocket},
    rc::Rc,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::LocalOptions,
    sync::{mpsc, watch},
};

pub use self::edges::{Applied, ShardCommand, ShardHandle, ShardReport};
use self::{
    bound::Bound,
    edges::{Datagram, Edges, SIDEWAYS_QUEUE},
};
use crate::{
    audit,
    capture::Arms,
    connections::{Connections, Handle},
    metrics::ShardMetrics,
    proxy::upstream::Pools,
    quic::{
        Incoming,
        cid::server_id,
        demux::Place,
        endpoint::{EndpointKeys, Tables},
        relay::{Relay, peers::Peers},
        udp::UdpSocket as QuicSocket,
    },
    snapshot::{BindingKey, Configuration},
    sys,
    telemetry::Telemetry,
    tls::{Contexts, EarlyData, TcpAcceptor},
    turnstile::Turnstile,
};

/// A shard, as everything on its thread sees it.
pub struct Shard {
    /// Its number.
    pub index: u8,
    /// Id of the dataplane.
    pub dataplane: Arc<str>,
    /// Every live connection.
    pub connections: RefCell<Connections>,
    /// Counters of this shard.
    pub metrics: Arc<ShardMetrics>,
    /// Takes the records of connections.
    pub records: audit::Sink,
    /// Connections to upstreams.
    pub upstreams: Pools,
    /// Copies of requests that are under way.
    pub mirrors: Rc<Cell<usize>>,
    /// Traces of requests.
    pub telemetry: Arc<Telemetry>,
    /// Captures that wait for connections.
    pub arms: Arms,
    early_data: Arc<EarlyData>,
    packets_per_key: u64,
    configuration: RefCell<Rc<Configuration>>,
    bound: RefCell<BTreeMap<BindingKey, Bound>>,
    contexts: RefCell<Contexts>,
    keys: RefCell<Rc<EndpointKeys>>,
    drains: RefCell<Drains>,
    sideways: Vec<mpsc::Sender<Datagram>>,
    tables: Tables,
}

/// What drains, and how long a connection that meets it may take.
#[derive(Default)]
struct Drains {
    all: Option<Duration>,
    listeners: HashMap<String, Duration>,
}

impl Shard {
    /// The configuration in service. Hold it for as long as a request lasts.
    pub fn configuration(&self) -> Rc<Configuration> {
        self.configuration.borrow().clone()
    }

    /// Whether HTTP/3 is served on a binding.
    pub fn quic_up(&self, key: &BindingKey) -> bool {
        self.bound.borrow().get(key).is_some_and(Bound::quic_up)
    }

    /// TLS for new TCP connections of a binding. `None`: it is cleartext.
    pub fn tls(&self, key: &BindingKey) -> Option<Rc<TcpAcceptor>> {
        self.bound.borrow().get(key)?.tls.clone()
    }

    /// Where handshakes wait for their turn.
    pub(crate) fn turnstile(&self) -> &Rc<Turnstile> {
        &self.tables.turnstile
    }

    /// Whether the whole shard drains.
    pub fn draining(&self) -> bool {
        self.drains.borrow().all.is_some()
    }

    /// When a new connection of a listener must be gone, if the shard or the listener
    /// drains.
    pub fn drain_deadline(&self, listener: Option<&str>) -> Option<Instant> {
        let drains = self.drains.borrow();
        let of_listener = listener.and_then(|id| drains.listeners.get(id)).copied();
        let limit = match (drains.all, of_listener) {
            (Some(all), Some(one)) => all.min(one),
            (all, one) => all.or(one)?,
        };
        Some(Instant::now() + limit)
    }

    /// The id of a connection in the admin API.
    pub fn connection_id(&self, handle: Handle) -> String {
        let Handle { slot, generation } = handle;
        let mut id = String::with_capacity(self.dataplane.len() + LONGEST_HANDLE);
        write!(id, "{}.{}.{slot}.{generation}", self.dataplane, self.index)
            .expect("a string takes it");
        id
    }

    /// Closes every socket. The shard and what it is bound to hold each other until then.
    fn stand_down(&self) {
        self.bound.borrow_mut().clear();
    }

    fn place(&self) -> Place {
        Place {
            server: server_id(&self.dataplane),
            shard: self.index,
            shards: u8::try_from(self.sideways.len()).unwrap_or(u8::MAX),
        }
    }

    /// A datagram for one of this shard's connections that another shard received.
    fn deliver(&self, datagram: Datagram) {
        let Datagram {
            peer_addr,
            local_addr,
            rx_time,
            bytes,
            gro,
            via,
        } = datagram;
        let buf = self.tables.pool.copy(&bytes);
        self.dispatch(Incoming {
            peer_addr,
            local_addr,
            rx_time,
            buf,
            gro,
            via,
        });
    }
}

/// What every shard is given at its start.
#[derive(Clone)]
pub struct Surroundings {
    /// Id of the dataplane.
    pub dataplane: Arc<str>,
    /// The configuration to serve, once there is one.
    pub configuration: watch::Receiver<Option<Arc<Configuration>>>,
    /// The data planes of the Gateway.
    pub peers: watch::Receiver<Arc<Peers>>,
    /// Told of every configuration that was applied or refused.
    pub applied: mpsc::Sender<Applied>,
    /// Takes the records of connections.
    pub records: audit::Sink,
    /// Traces of requests.
    pub telemetry: Arc<Telemetry>,
    /// What shards know together of early data.
    pub early_data: Arc<EarlyData>,
    /// Packets that AES-GCM may seal under one key.
    pub packets_per_key: u64,
}

/// Starts a shard for each of `metrics`, and wires the rings between them. `relays` are
/// their relay sockets, as many as there are shards, or none.
///
/// # Errors
/// When a thread cannot be started.
pub fn spawn_all(
    surroundings: &Surroundings,
    metrics: &[Arc<ShardMetrics>],
    relays: Vec<UdpSocket>,
) -> std::io::Result<Vec<ShardHandle>> {
    let rings = metrics.iter().map(|_| mpsc::channel(SIDEWAYS_QUEUE));
    let (senders, receivers): (Vec<_>, Vec<_>) = rings.unzip();
    let mut relays = relays.into_iter();
    let spawn = |(index, (metrics, ring)): (usize, (&Arc<ShardMetrics>, _))| {
        let (commands, inbox) = mpsc::channel(edges::COMMAND_QUEUE);
        let edges = Edges {
            commands: inbox,
            sideways_in: ring,
            sideways: senders.clone(),
            relay: relays.next(),
        };
        let (surroundings, metrics) = (surroundings.clone(), metrics.clone());
        let index = u8::try_from(index).map_err(std::io::Error::other)?;
        let thread = thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || run(index, surroundings, metrics, edges))?;
        Ok(ShardHandle {
            index,
            commands,
            thread: Some(thread),
        })
    };
    metrics
        .iter()
        .zip(receivers)
        .enumerate()
        .map(spawn)
        .collect()
}

fn run(index: u8, surroundings: Surroundings, metrics: Arc<ShardMetrics>, edges: Edges) {
    if let Err(error) = sys::pin_to_cpu(index.into()) {
        tracing::debug!(shard = index, %error, "the thread is not pinned");
    }
    // Not a `LocalSet` in a runtime: that one wakes the runtime with a system call
    // whenever an event wakes a task.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .expect("a runtime needs an epoll descriptor, without which nothing can be served");
    runtime.block_on(main(index, surroundings, metrics, edges));
}

async fn main(index: u8, surroundings: Surroundings, metrics: Arc<ShardMetrics>, edges: Edges) {
    let Surroundings {
        dataplane,
        mut configuration,
        mut peers,
        applied,
        records,
        telemetry,
        early_data,
        packets_per_key,
    } = surroundings;
    let Edges {
        mut commands,
        mut sideways_in,
        sideways,
        relay,
    } = edges;
    // The first configuration decides which keys there are; before it there is nothing
    // to do but to be told so, or to stop.
    let first = loop {
        tokio::select! {
            changed = configuration.changed() => {
                if changed.is_err() {
                    return;
                }
                if let Some(first) = configuration.borrow_and_update().clone() {
                    break first;
                }
            }
            command = commands.recv() => match command {
                None | Some(ShardCommand::Stop) => return,
                Some(command) => command.answer_without_shard(),
            },
        }
    };
    let relay = relay.map(QuicSocket::relay).transpose();
    let relay = Relay::new(relay.unwrap_or_else(|error| {
        tracing::error!(%error, "the relay port cannot be served");
        None
    }));
    let gauge = metrics.clone();
    let turnstile = Turnstile::new(move |waiting| gauge.handshakes_waiting.set(waiting as u64));
    relay.set_peers(peers.borrow_and_update().clone());
    let shard = Rc::new(Shard {
        index,
        dataplane,
        connections: RefCell::new(Connections::new(rand::random())),
        metrics,
        records,
        upstreams: Pools::default(),
        mirrors: Rc::default(),
        telemetry,
        arms: Arms::default(),
        early_data,
        packets_per_key,
        configuration: RefCell::new(Rc::new(Configuration::clone(&first))),
        bound: RefCell::default(),
        contexts: RefCell::default(),
        keys: RefCell::new(Rc::new(apply::endpoint_keys(&first.snapshot.keys))),
        drains: RefCell::default(),
        sideways,
        tables: Tables {
            relay: Rc::new(relay),
            turnstile: Rc::new(turnstile),
            ..Tables::default()
        },
    });
    let _relaying = shard.serve_relay();
    report(&applied, shard.apply(&first)).await;
    loop {
        tokio::select! {
            changed = configuration.changed() => {
                if changed.is_err() {
                    break;
                }
                let next = configuration.borrow_and_update().clone();
                match next {
                    Some(next) => report(&applied, shard.apply(&next)).await,
                    // The first one was refused by another shard: nothing is served.
                    None => shard.stand_down(),
                }
            }
            command = commands.recv() => match command {
                None | Some(ShardCommand::Stop) => break,
                Some(command) => shard.execute(command),
            },
            Ok(()) = peers.changed() => {
                let peers = peers.borrow_and_update().clone();
                shard.tables.relay.set_peers(peers);
            }
            datagram = sideways_in.recv() => {
                if let Some(datagram) = datagram {
                    shard.deliver(datagram);
                }
            }
        }
    }
    shard.stand_down();
}

async fn report(applied: &mpsc::Sender<Applied>, what: Applied) {
    // Nobody listens any more while the process ends.
    let _ending = applied.send(what).await;
}

/// Where a socket of a binding is bound.
fn socket_addresses(key: &BindingKey) -> Vec<SocketAddr> {
    if key.addresses.is_empty() {
        return vec![
            SocketAddr::from(([0, 0, 0, 0], key.port)),
            SocketAddr::from(([0_u16; 8], key.port)),
        ];
    }
    key.addresses
        .iter()
        .map(|address| SocketAddr::new(*address, key.port))
        .collect()
}

/// Three points and numbers.
const LONGEST_HANDLE: usize = 26;
