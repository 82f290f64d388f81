//! A second application of the connection layer: every stream gets back what it sent.
//!
//! It serves on one thread as a shard would, with the connection layer's public parts
//! alone: no HTTP, no proxy, no control plane.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use boring::{
    pkey::PKey,
    ssl::{SslContextBuilder, SslMethod},
    x509::X509,
};
use tidegate_dataplane::{
    connections::{Connections, Handle, LiveConnection},
    quic::{
        Activity, ApplicationError, ApplicationOverQuic, ConnectionShutdownBehaviour, DrainPhase,
        HandshakeInfo, Incoming, InitialConnection, Metrics, QuicCommand, QuicConnection,
        QuicheConnection,
        cid::{CidCodec, server_id},
        demux::Place,
        endpoint::{Endpoint, EndpointKeys, Host, Tables},
        listener::{Listener, Settings},
        metrics::NoMetrics,
        udp::UdpSocket,
    },
    snapshot::{CidKey, RetryMode, SecretKey},
};
use tidegate_proto::v1;
use tokio::{
    sync::{mpsc, oneshot},
    task::{LocalSet, spawn_local},
};

use crate::Identity;

const ALPN: &[u8] = b"echo";
const PIECE: usize = 16 * 1024;
/// What a stream may have read and not yet sent back.
const MOST_HELD: usize = 256 * 1024;

/// What happens to connections between handshake and serving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    Serve,
    /// After the handshake, with this code and reason.
    Refuse(u64, &'static str),
    /// Before the handshake, without a word.
    Drop,
}

/// What the server noted.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<Noted>>);

/// See [`Notes`].
#[derive(Clone, Debug, Default)]
pub struct Noted {
    /// Facts of completed handshakes.
    pub established: Vec<v1::Connection>,
    /// Records of connections that ended.
    pub closed: Vec<v1::Connection>,
    /// Times that an application was told of its connection.
    pub served: usize,
    pub drain_phases: Vec<DrainPhase>,
    /// Whether the TLS session of a connection was at its beginning before the handshake.
    pub untouched_tls: Vec<bool>,
}

/// A running echo server; dropped, it ends.
pub struct EchoServer {
    pub address: SocketAddr,
    pub notes: Notes,
    orders: mpsc::Sender<Order>,
}

type Order = Box<dyn FnOnce(Vec<QuicConnection>) + Send>;

impl EchoServer {
    pub async fn start(identity: &Identity, policy: Policy) -> Self {
        let (orders, inbox) = mpsc::channel(16);
        let (ready, address) = oneshot::channel();
        let (identity, notes) = (identity.clone(), Notes::default());
        let noted = notes.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("threads start");
            LocalSet::new().block_on(&runtime, serve(identity, policy, noted, ready, inbox));
        });
        let address = address.await.expect("loopback binds");
        Self {
            address,
            notes,
            orders,
        }
    }

    /// Runs a function on the server's thread, with the connections that were begun, in order.
    pub async fn on_thread<R: Send + 'static>(
        &self,
        run: impl FnOnce(Vec<QuicConnection>) -> R + Send + 'static,
    ) -> R {
        let (reply, answer) = oneshot::channel();
        let order: Order = Box::new(move |connections| {
            let _ = reply.send(run(connections));
        });
        self.orders.send(order).await.expect("the server runs");
        answer.await.expect("the server answers")
    }

    /// Closes the first connection, and resolves when its peer could know.
    pub async fn shutdown(&self, behaviour: ConnectionShutdownBehaviour) {
        let (done, resolved) = oneshot::channel();
        self.on_thread(move |connections| {
            let connection = connections[0].clone();
            spawn_local(async move {
                connection.shutdown(behaviour).await;
                let _ = done.send(());
            });
        })
        .await;
        resolved.await.expect("a shutdown resolves");
    }

    /// Statistics of the first connection, read by a command on it.
    pub async fn stats(&self) -> v1::SocketStats {
        let (reply, stats) = oneshot::channel();
        let queued = self
            .on_thread(move |connections| {
                connections[0].command(QuicCommand::Stats(Box::new(move |stats| {
                    let _ = reply.send(stats);
                })))
            })
            .await;
        assert!(queued, "the command queue has room");
        stats.await.expect("the command is executed")
    }
}

impl Notes {
    pub fn read(&self) -> Noted {
        self.0.lock().expect("no panic holds it").clone()
    }

    fn write(&self, change: impl FnOnce(&mut Noted)) {
        change(&mut self.0.lock().expect("no panic holds it"));
    }
}

async fn serve(
    identity: Identity,
    policy: Policy,
    notes: Notes,
    ready: oneshot::Sender<SocketAddr>,
    mut inbox: mpsc::Receiver<Order>,
) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, crate::ports::free_port()));
    let host = Rc::new(EchoHost {
        connections: RefCell::default(),
        notes: notes.clone(),
    });
    let socket = UdpSocket::bind(address).expect("the port is free");
    let keys = EndpointKeys {
        cids: CidCodec::new(&[CidKey {
            id: 1,
            aes: [7; 16],
        }]),
        retry: vec![SecretKey {
            id: 1,
            secret: [1; 32],
        }],
        reset: vec![SecretKey {
            id: 1,
            secret: [2; 32],
        }],
    };
    let place = Place {
        server: server_id("echo"),
        shard: 0,
        shards: 1,
    };
    let endpoint = Rc::new(Endpoint::new(
        host,
        vec![socket],
        Tables::default(),
        place,
        Rc::new(keys),
    ));
    let settings = Settings {
        config: config(&identity),
        retry: RetryMode::Never,
        handshake_timeout: Duration::from_secs(10),
    };
    let begun = Rc::<RefCell<Vec<QuicConnection>>>::default();
    let connections = begun.clone();
    let accept = move |mut initial: InitialConnection| {
        let untouched = initial.with_ssl(|ssl| !ssl.is_init_finished());
        notes.write(|noted| noted.untouched_tls.push(untouched));
        if policy == Policy::Drop {
            return;
        }
        begun.borrow_mut().push(initial.connection());
        spawn_local(admit(initial, policy.clone(), Echo::new(notes.clone())));
    };
    let listener = Rc::new(Listener::new(endpoint, settings, accept));
    let _service = listener.spawn();
    ready.send(address).expect("the test waits for it");
    while let Some(order) = inbox.recv().await {
        order(connections.borrow().clone());
    }
}

/// The two stages: the decision falls after the handshake, and before serving.
async fn admit(initial: InitialConnection, policy: Policy, application: Echo) {
    let Ok((_, running)) = initial.handshake(application).await else {
        return;
    };
    match policy {
        Policy::Refuse(code, reason) => {
            let behaviour = ConnectionShutdownBehaviour::application(code, reason);
            running.refuse(&behaviour).linger().await;
        }
        _ => {
            InitialConnection::resume(running);
        }
    }
}

fn config(identity: &Identity) -> quiche::Config {
    let mut tls = SslContextBuilder::new(SslMethod::tls()).expect("BoringSSL starts");
    let leaf = X509::from_pem(identity.chain_pem.as_bytes()).expect("rcgen writes PEM");
    let key = PKey::private_key_from_pem(identity.key_pem.as_bytes()).expect("rcgen writes PEM");
    tls.set_certificate(&leaf).expect("it is a certificate");
    tls.set_private_key(&key)
        .expect("it belongs to the certificate");
    let mut config = quiche::Config::with_boring_ssl_ctx_builder(quiche::PROTOCOL_VERSION, tls)
        .expect("the version is known");
    config.set_application_protos(&[ALPN]).expect("one name");
    config.set_max_idle_timeout(10_000);
    config.set_initial_max_data(1 << 20);
    config.set_initial_max_stream_data_bidi_remote(MOST_HELD as u64);
    config.set_initial_max_streams_bidi(100);
    config
}

struct EchoHost {
    connections: RefCell<Connections>,
    notes: Notes,
}

impl Host for EchoHost {
    fn metrics(&self) -> &dyn Metrics {
        &NoMetrics
    }

    fn vacant(&self) -> Handle {
        self.connections.borrow().vacant()
    }

    fn register(&self, connection: Rc<dyn LiveConnection>) -> Handle {
        self.connections.borrow_mut().insert(connection)
    }

    fn unregister(&self, handle: Handle) {
        // Dropped after the borrow ends, because its own end may come back here.
        let _gone = self.connections.borrow_mut().remove(handle);
    }

    fn established(&self, _: Handle, facts: v1::Connection) {
        self.notes.write(|noted| noted.established.push(facts));
    }

    fn hand_over(&self, _: u8, _: Incoming) -> bool {
        false
    }

    fn closed(&self, _: Handle, record: v1::Connection) {
        self.notes.write(|noted| noted.closed.push(record));
    }
}

/// What one stream read and has not yet sent back.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    finished: bool,
}

struct Echo {
    streams: BTreeMap<u64, Held>,
    requests: u64,
    notes: Notes,
}

impl Echo {
    fn new(notes: Notes) -> Self {
        Self {
            streams: BTreeMap::new(),
            requests: 0,
            notes,
        }
    }

    fn read(&mut self, qconn: &mut QuicheConnection, id: u64) {
        let mut buffer = [0; PIECE];
        let held = self.streams.entry(id).or_insert_with(|| {
            self.requests += 1;
            Held::default()
        });
        // What stays in quiche keeps the flow-control window shut.
        while held.bytes.len() < MOST_HELD {
            match qconn.stream_recv(id, &mut buffer) {
                Ok((length, finished)) => {
                    held.bytes.extend_from_slice(&buffer[..length]);
                    held.finished |= finished;
                }
                Err(_) => return,
            }
        }
    }
}

impl ApplicationOverQuic for Echo {
    fn on_conn_established(
        &mut self,
        _: &mut QuicheConnection,
        handshake: &HandshakeInfo,
    ) -> Result<(), ApplicationError> {
        assert!(handshake.elapsed() > Duration::ZERO && !handshake.is_expired(Instant::now()));
        self.notes.write(|noted| noted.served += 1);
        Ok(())
    }

    async fn wait_for_data(&mut self) -> Result<(), ApplicationError> {
        std::future::pending().await
    }

    fn process_reads(&mut self, qconn: &mut QuicheConnection) -> Result<(), ApplicationError> {
        for id in qconn.readable() {
            self.read(qconn, id);
        }
        Ok(())
    }

    fn process_writes(&mut self, qconn: &mut QuicheConnection) -> Result<(), ApplicationError> {
        let ids: Vec<u64> = self.streams.keys().copied().collect();
        for id in ids {
            self.read(qconn, id);
        }
        self.streams.retain(|&id, held| {
            let sent = qconn
                .stream_send(id, &held.bytes, held.finished)
                .unwrap_or(0);
            held.bytes.drain(..sent);
            !(held.finished && held.bytes.is_empty())
        });
        Ok(())
    }

    fn on_drain(
        &mut self,
        _: &mut QuicheConnection,
        phase: DrainPhase,
    ) -> Result<(), ApplicationError> {
        self.notes.write(|noted| noted.drain_phases.push(phase));
        Ok(())
    }

    fn goodbye(&self) -> ConnectionShutdownBehaviour {
        ConnectionShutdownBehaviour::application(0, "drained")
    }

    fn activity(&self) -> Activity {
        Activity {
            requests: self.requests,
            active: self.streams.len() as u64,
            undelivered: 0,
        }
    }
}
