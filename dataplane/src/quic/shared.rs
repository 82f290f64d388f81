//! The part of a connection that its worker shares with the listener, the registry and
//! whoever holds a [`QuicConnection`](super::QuicConnection). All on one thread.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, Weak},
    task::Waker,
    time::{Instant, SystemTime},
};

use tidegate_proto::v1::{self, ClosedBy};

use super::{
    Activity, HandshakeInfo, QuicCommand, QuicheConnection,
    cid::Cid,
    command::ConnectionShutdownBehaviour,
    endpoint::Endpoint,
    incoming::{Incoming, IncomingQueue},
    metrics::DatagramDrop,
    relay::vias::Vias,
    stats,
};
use crate::{
    capture::{Buffer, Qlog, Refused},
    connections::{Handle, LiveConnection},
    snapshot::QuicTransport,
};

/// Which of the worker's stages a connection is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Handshake,
    Running,
    Closing,
}

pub(crate) struct Shared {
    pub(crate) endpoint: Rc<Endpoint>,
    pub(crate) handle: Handle,
    /// In a box: it is nearly all of what a connection's memory is, and together they would
    /// be of a size that allocators round up far.
    pub(crate) qconn: RefCell<Box<QuicheConnection>>,
    pub(crate) scid: Cid,
    pub(crate) local: SocketAddr,
    /// The last validated address of the client.
    pub(crate) peer: Cell<SocketAddr>,
    pub(crate) started: Instant,
    pub(crate) started_at: SystemTime,
    pub(crate) handshake: RefCell<HandshakeInfo>,
    pub(crate) tls: RefCell<Option<v1::TlsInfo>>,
    /// What was configured for it, once its server name is known.
    pub(crate) transport: RefCell<Option<Arc<QuicTransport>>>,
    pub(crate) listener: RefCell<Option<Arc<str>>>,
    pub(crate) stage: Cell<Stage>,
    pub(crate) activity: Cell<Activity>,
    /// The drain, once it began.
    pub(crate) drain: Cell<Option<Draining>>,
    /// Bytes of the largest datagram that is sent, where that is less than quiche knows.
    pub(crate) datagram_limit: Cell<Option<usize>>,
    /// Who closed it, once that is decided.
    pub(crate) closed_by: Cell<Option<ClosedBy>>,
    /// Audit facts that grow while it lives.
    pub(crate) audit: RefCell<v1::AuditStats>,
    /// Where its qlog goes, while it is captured.
    pub(crate) captured: RefCell<Weak<Buffer>>,
    /// Addresses of the client that other data planes reach.
    pub(crate) vias: RefCell<Vias>,
    mailbox: RefCell<Mailbox>,
}

/// Why a connection drains, and when it ends in any case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draining {
    pub(crate) by: ClosedBy,
    pub(crate) deadline: Instant,
}

#[derive(Default)]
struct Mailbox {
    incoming: IncomingQueue,
    commands: VecDeque<QuicCommand>,
    worker: Option<Waker>,
    /// Wait until the peer can know of the close.
    closers: Vec<Waker>,
    rung: bool,
}

impl Shared {
    #[allow(clippy::too_many_arguments, reason = "one call, in the acceptor")]
    pub(crate) fn new(
        endpoint: Rc<Endpoint>,
        handle: Handle,
        qconn: QuicheConnection,
        scid: Cid,
        local: SocketAddr,
        peer: SocketAddr,
        handshake: HandshakeInfo,
    ) -> Self {
        let hex = stats::hex(&scid);
        Self {
            endpoint,
            handle,
            qconn: RefCell::new(Box::new(qconn)),
            scid,
            local,
            peer: Cell::new(peer),
            started: handshake.start_time(),
            started_at: SystemTime::now(),
            handshake: RefCell::new(handshake),
            tls: RefCell::default(),
            transport: RefCell::default(),
            listener: RefCell::default(),
            stage: Cell::new(Stage::Handshake),
            activity: Cell::default(),
            drain: Cell::default(),
            datagram_limit: Cell::default(),
            closed_by: Cell::default(),
            audit: RefCell::new(v1::AuditStats {
                quic_connection_id: hex,
                ..Default::default()
            }),
            captured: RefCell::default(),
            vias: RefCell::default(),
            mailbox: RefCell::default(),
        }
    }

    /// Queues received datagrams. A full queue drops and counts them.
    pub(crate) fn deliver(&self, incoming: Incoming) {
        let refused = self.mailbox.borrow_mut().incoming.push(incoming);
        if let Err(dropped) = refused {
            self.audit.borrow_mut().incoming_dropped += dropped as u64;
            for _ in 0..dropped {
                self.endpoint
                    .host
                    .metrics()
                    .datagram_dropped(DatagramDrop::IncomingFull);
            }
        }
        self.ring();
    }

    pub(crate) fn has_incoming(&self) -> bool {
        !self.mailbox.borrow().incoming.is_empty()
    }

    pub(crate) fn next_incoming(&self) -> Option<Incoming> {
        self.mailbox.borrow_mut().incoming.pop()
    }

    /// Gives back what memory the queues have to spare.
    pub(crate) fn rest(&self) {
        let mut mailbox = self.mailbox.borrow_mut();
        mailbox.incoming.shrink_to_fit();
        mailbox.commands.shrink_to_fit();
    }

    /// Queues a command. Says whether there was room.
    pub(crate) fn command(&self, command: QuicCommand) -> bool {
        let mut mailbox = self.mailbox.borrow_mut();
        if mailbox.commands.len() >= MAX_COMMANDS {
            self.endpoint.host.metrics().command_dropped();
            return false;
        }
        mailbox.commands.push_back(command);
        drop(mailbox);
        self.ring();
        true
    }

    pub(crate) fn next_command(&self) -> Option<QuicCommand> {
        self.mailbox.borrow_mut().commands.pop_front()
    }

    /// Begins another turn of the worker.
    pub(crate) fn ring(&self) {
        let mut mailbox = self.mailbox.borrow_mut();
        mailbox.rung = true;
        if let Some(worker) = mailbox.worker.take() {
            worker.wake();
        }
    }

    /// Whether something came since the last call; if not, `worker` is woken when it does.
    pub(crate) fn rung(&self, worker: &Waker) -> bool {
        let mut mailbox = self.mailbox.borrow_mut();
        if std::mem::take(&mut mailbox.rung) {
            return true;
        }
        match &mut mailbox.worker {
            Some(last) => last.clone_from(worker),
            none => *none = Some(worker.clone()),
        }
        false
    }

    /// Whether the peer can know of the close; if not, `waiter` is woken when it can.
    pub(crate) fn is_shut(&self, waiter: &Waker) -> bool {
        if self.stage.get() == Stage::Closing {
            return true;
        }
        self.mailbox.borrow_mut().closers.push(waiter.clone());
        false
    }

    /// Begins a drain. One that has begun already may only become shorter.
    pub(crate) fn drain_for(&self, by: ClosedBy, deadline: Instant) {
        let draining = match self.drain.get() {
            Some(before) if before.deadline <= deadline => return,
            Some(before) => Draining { deadline, ..before },
            None => Draining { by, deadline },
        };
        self.drain.set(Some(draining));
        self.ring();
    }

    /// The work is over and the close frame, if any, is on its way.
    pub(crate) fn enter_closing(&self) {
        self.stage.set(Stage::Closing);
        self.mailbox
            .borrow_mut()
            .closers
            .drain(..)
            .for_each(Waker::wake);
    }

    /// Everything that is known now.
    pub(crate) fn facts(&self) -> v1::Connection {
        let activity = self.activity.get();
        // The worker never holds the connection between turns.
        let mut stats = self
            .qconn
            .try_borrow()
            .ok()
            .map(|qconn| stats::socket_stats(&qconn));
        if let (Some(stats), Some(limit)) = (&mut stats, self.datagram_limit.get()) {
            stats.pmtu = stats.pmtu.min(limit as u32);
        }
        if let (Some(stats), Some(transport)) = (&mut stats, &*self.transport.borrow()) {
            stats.congestion_control = transport.congestion_control.as_str().to_owned();
        }
        v1::Connection {
            listener_id: self
                .listener
                .borrow()
                .as_deref()
                .unwrap_or_default()
                .to_owned(),
            transport: "quic".to_owned(),
            peer_address: stats::address(self.peer.get()),
            local_address: stats::address(self.local),
            started_at_ms: unix_millis(self.started_at),
            age_ms: self.started.elapsed().as_millis() as u64,
            handshake: Some(self.handshake.borrow().to_proto()),
            tls: self.tls.borrow().clone(),
            stats,
            audit: Some(self.audit.borrow().clone()),
            requests: activity.requests,
            requests_active: activity.active,
            draining: self.drain.get().is_some(),
            stage: match self.stage.get() {
                Stage::Handshake => "handshake",
                Stage::Running => "running",
                Stage::Closing => "closing",
            }
            .to_owned(),
            ..Default::default()
        }
    }
}

impl LiveConnection for Shared {
    fn describe(&self) -> v1::Connection {
        self.facts()
    }

    fn listener(&self) -> Option<Arc<str>> {
        self.listener.borrow().clone()
    }

    fn port(&self) -> u16 {
        self.local.port()
    }

    fn is_quic(&self) -> bool {
        true
    }

    fn closing(&self) -> bool {
        self.closed_by.get().is_some() || self.stage.get() == Stage::Closing
    }

    fn close(&self, behaviour: ConnectionShutdownBehaviour, by: ClosedBy) {
        if self.command(QuicCommand::ConnectionClose(behaviour)) && self.closed_by.get().is_none() {
            self.closed_by.set(Some(by));
        }
    }

    fn drain(&self, deadline: Instant) {
        self.drain_for(ClosedBy::Drain, deadline);
    }

    fn capture(&self, qlog: Qlog, title: String) -> Result<(), Refused> {
        if self.closing() {
            return Err(Refused::Gone);
        }
        let mut captured = self.captured.borrow_mut();
        if captured.upgrade().is_some_and(|other| !other.is_ended()) {
            return Err(Refused::Captured);
        }
        let buffer = Arc::downgrade(&qlog.buffer);
        let attach = move |qconn: &mut QuicheConnection| qlog.attach(qconn, title);
        if !self.command(QuicCommand::Custom(Box::new(attach))) {
            return Err(Refused::Busy);
        }
        *captured = buffer;
        Ok(())
    }
}

pub(crate) fn unix_millis(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}

/// Commands that may wait for a turn.
const MAX_COMMANDS: usize = 64;
