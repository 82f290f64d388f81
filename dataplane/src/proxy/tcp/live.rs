//! A TCP connection as operators see it, and its one audit record.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tidegate_proto::v1::{self, ClosedBy, record::Kind};
use tokio::sync::Notify;

use super::drive::Ending;
use crate::{
    connections::{Handle, LiveConnection},
    proxy::wire::Traffic,
    quic::{ConnectionShutdownBehaviour, stats},
    shard::Shard,
    snapshot::Scheme,
};

/// The state of a connection.
pub(super) struct Live {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) traffic: Rc<Traffic>,
    /// The listener's id, once it is known.
    pub(super) listener: RefCell<Option<Arc<str>>>,
    /// When the last request ended.
    pub(super) idle_since: Cell<Instant>,
    /// Bytes that had been read then.
    pub(super) read_when_idle: Cell<u64>,
    /// Set by a drain: when the connection must be gone.
    pub(super) leave_by: Cell<Option<Instant>>,
    started: Instant,
    started_at: SystemTime,
    handshake_timeout: Duration,
    handshake: Cell<Duration>,
    tls: RefCell<Option<v1::TlsInfo>>,
    requests: Cell<u64>,
    active: Cell<u64>,
    stage: Cell<&'static str>,
    draining: Cell<bool>,
    order: RefCell<Option<Order>>,
    told: Notify,
}

/// What an operator or the shard wants of a connection.
#[derive(Clone, Debug)]
pub(super) enum Order {
    Close { by: ClosedBy, reason: String },
    Drain { deadline: Instant },
}

/// Counts a request as active until it is dropped.
pub(super) struct Active(Rc<Live>);

impl Live {
    pub(super) fn new(
        peer: SocketAddr,
        local: SocketAddr,
        traffic: Rc<Traffic>,
        handshake_timeout: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            peer,
            local,
            traffic,
            listener: RefCell::default(),
            idle_since: Cell::new(now),
            read_when_idle: Cell::default(),
            leave_by: Cell::default(),
            started: now,
            started_at: SystemTime::now(),
            handshake_timeout,
            handshake: Cell::default(),
            tls: RefCell::default(),
            requests: Cell::default(),
            active: Cell::default(),
            stage: Cell::new("handshake"),
            draining: Cell::default(),
            order: RefCell::default(),
            told: Notify::new(),
        }
    }

    /// HTTP can begin. In the clear its first bytes may have been read already.
    pub(super) fn established(&self, tls: v1::TlsInfo, scheme: Scheme) {
        self.handshake.set(self.started.elapsed());
        self.tls.replace(Some(tls));
        self.stage.set("running");
        self.idle();
        if scheme == Scheme::Http {
            self.read_when_idle.set(0);
        }
    }

    pub(super) fn begin_request(self: &Rc<Self>) -> Active {
        self.requests.set(self.requests.get() + 1);
        self.go_on()
    }

    /// What a request has begun goes on after its response.
    pub(super) fn go_on(self: &Rc<Self>) -> Active {
        self.active.set(self.active.get() + 1);
        Active(self.clone())
    }

    /// Whether a request is under way.
    pub(super) fn is_active(&self) -> bool {
        self.active.get() > 0
    }

    fn idle(&self) {
        self.idle_since.set(Instant::now());
        self.read_when_idle.set(self.traffic.received.get());
    }

    /// The next order.
    pub(super) async fn told(&self) -> Order {
        loop {
            if let Some(order) = self.order.take() {
                return order;
            }
            self.told.notified().await;
        }
    }

    /// Does this, unless an order comes before it is done.
    pub(super) async fn unless_told<T>(&self, this: impl Future<Output = T>) -> Result<T, Ending> {
        tokio::select! {
            done = this => Ok(done),
            order = self.told() => Err(match order {
                Order::Close { by, reason } => Ending::new(by, reason),
                Order::Drain { .. } => Ending::new(ClosedBy::Drain, ""),
            }),
        }
    }

    /// GOAWAY or `Connection: close` was sent.
    pub(super) fn leaving(&self, stage: &'static str) {
        self.stage.set(stage);
        self.draining.set(true);
    }

    fn tell(&self, order: Order) {
        self.order.replace(Some(order));
        self.told.notify_one();
    }
}

impl LiveConnection for Live {
    fn describe(&self) -> v1::Connection {
        let since_epoch = self
            .started_at
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        v1::Connection {
            listener_id: self
                .listener
                .borrow()
                .as_deref()
                .unwrap_or_default()
                .to_owned(),
            transport: "tcp".into(),
            peer_address: stats::address(self.peer),
            local_address: stats::address(self.local),
            started_at_ms: since_epoch.as_millis() as i64,
            age_ms: self.started.elapsed().as_millis() as u64,
            handshake: Some(v1::HandshakeInfo {
                elapsed_us: self.handshake.get().as_micros() as u64,
                timeout_ms: self.handshake_timeout.as_millis() as u64,
                ..Default::default()
            }),
            tls: self.tls.borrow().clone(),
            stats: Some(v1::SocketStats {
                bytes_sent: self.traffic.sent.get(),
                bytes_recvd: self.traffic.received.get(),
                ..Default::default()
            }),
            requests: self.requests.get(),
            requests_active: self.active.get(),
            draining: self.draining.get(),
            stage: self.stage.get().into(),
            ..Default::default()
        }
    }

    fn listener(&self) -> Option<Arc<str>> {
        self.listener.borrow().clone()
    }

    fn port(&self) -> u16 {
        self.local.port()
    }

    fn close(&self, behaviour: ConnectionShutdownBehaviour, by: ClosedBy) {
        let reason = String::from_utf8_lossy(&behaviour.reason).into_owned();
        self.tell(Order::Close { by, reason });
    }

    fn drain(&self, deadline: Instant) {
        self.tell(Order::Drain { deadline });
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let left = self.0.active.get() - 1;
        self.0.active.set(left);
        if left == 0 {
            self.0.idle();
        }
    }
}

/// A connection's place in the shard's registry. Dropped, it leaves the audit record,
/// whether the connection has ended or its task was dropped.
pub(super) struct Registered {
    shard: Rc<Shard>,
    live: Rc<Live>,
    handle: Handle,
    ending: Option<Ending>,
}

impl Registered {
    pub(super) fn new(shard: Rc<Shard>, live: Rc<Live>) -> Self {
        shard.metrics.http.tcp_accepted();
        let handle = shard.connections.borrow_mut().insert(live.clone());
        Self {
            shard,
            live,
            handle,
            ending: None,
        }
    }

    /// Tells the control plane that the connection is there.
    pub(super) fn report_established(&self) {
        self.shard.records.offer(Kind::Established(self.describe()));
    }

    /// The connection has ended.
    pub(super) fn end(mut self, ending: Ending) {
        self.ending = Some(ending);
    }

    fn describe(&self) -> v1::Connection {
        v1::Connection {
            id: self.shard.connection_id(self.handle),
            ..self.live.describe()
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shard.connections.borrow_mut().remove(self.handle);
        let ending = self.ending.take();
        let ending = ending.unwrap_or_else(|| Ending::new(ClosedBy::Abort, "the shard stopped"));
        self.live.stage.set("closed");
        let mut record = self.describe();
        record.audit = Some(v1::AuditStats {
            closed_by: ending.by.into(),
            connection_close_reason: ending.reason,
            ..Default::default()
        });
        self.shard.records.offer(Kind::Closed(record));
        self.shard.metrics.http.tcp_closed(ending.by);
    }
}
