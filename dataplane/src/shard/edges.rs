//! What goes into a shard and comes out of it. Every queue is bounded.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use tidegate_proto::v1;
use tokio::sync::{mpsc, oneshot};

use crate::{
    capture::{Armed, Qlog, Refused},
    connections::Handle,
    quic::{ConnectionShutdownBehaviour, relay::Via},
};

/// A question or an order to a shard.
pub enum ShardCommand {
    /// Connections that the selector chooses, after a place, in order of slot.
    List {
        /// Which ones.
        selector: v1::Selector,
        /// Slot and generation of the last one of the page before.
        after: Option<(u32, u32)>,
        /// How many at the most.
        limit: usize,
        /// `Err` says what is wrong with the selector.
        reply: oneshot::Sender<Result<Vec<v1::Connection>, String>>,
    },
    /// One connection.
    Show {
        /// Its slot.
        slot: u32,
        /// And which use of it.
        generation: u32,
        /// `None`: it is gone.
        reply: oneshot::Sender<Option<v1::Connection>>,
    },
    /// Close one connection.
    Close {
        /// Its slot.
        slot: u32,
        /// And which use of it.
        generation: u32,
        /// How.
        behaviour: ConnectionShutdownBehaviour,
        /// `false`: it is gone, or closing already.
        reply: oneshot::Sender<bool>,
    },
    /// Close all that the selector chooses.
    CloseSelected {
        /// Which ones.
        selector: v1::Selector,
        /// How.
        behaviour: ConnectionShutdownBehaviour,
        /// How many; `Err` says what is wrong with the selector.
        reply: oneshot::Sender<Result<u64, String>>,
    },
    /// Write qlog of one connection.
    Capture {
        /// Its slot.
        slot: u32,
        /// And which use of it.
        generation: u32,
        /// How, and where to.
        qlog: Qlog,
        /// `Err` says why not.
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    /// Write down connections that are to come.
    Arm {
        /// Which, what and where to.
        armed: Arc<Armed>,
        /// It waits for them.
        reply: oneshot::Sender<()>,
    },
    /// Drain a listener's connections, or all.
    Drain {
        /// `None`: all.
        listener: Option<String>,
        /// When they are closed in any case.
        deadline: Duration,
        /// It was begun.
        reply: oneshot::Sender<()>,
    },
    /// New connections are ordinary again.
    Undrain {
        /// `None`: all.
        listener: Option<String>,
        /// It is done.
        reply: oneshot::Sender<()>,
    },
    /// How things are.
    State {
        /// The answer.
        reply: oneshot::Sender<ShardReport>,
    },
    /// End at once. Connections leave their records.
    Stop,
}

impl ShardCommand {
    /// The answer of a shard that serves nothing yet.
    pub(super) fn answer_without_shard(self) {
        match self {
            Self::List { reply, .. } => answer(reply, Ok(Vec::new())),
            Self::Show { reply, .. } => answer(reply, None),
            Self::Close { reply, .. } => answer(reply, false),
            Self::CloseSelected { reply, .. } => answer(reply, Ok(0)),
            Self::Capture { reply, .. } => answer(reply, Err(Refused::Gone)),
            Self::Arm { reply, .. } | Self::Drain { reply, .. } | Self::Undrain { reply, .. } => {
                answer(reply, ());
            }
            Self::State { reply } => answer(reply, ShardReport::default()),
            Self::Stop => {}
        }
    }
}

/// How a shard is.
#[derive(Clone, Debug, Default)]
pub struct ShardReport {
    /// Each listener of the configuration in service.
    pub listeners: Vec<v1::ListenerState>,
    /// Live connections.
    pub connections: u64,
    /// The whole shard drains.
    pub draining: bool,
}

/// A configuration was applied, or refused and the one before serves on.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Which shard.
    pub shard: u8,
    /// Version of the snapshot.
    pub version: String,
    /// What could not be set up. Empty: it is in service.
    pub rejections: Vec<v1::Rejection>,
}

/// The outside's hold on a shard.
pub struct ShardHandle {
    /// Which one.
    pub index: u8,
    /// Its inbox.
    pub commands: mpsc::Sender<ShardCommand>,
    pub(super) thread: Option<JoinHandle<()>>,
}

impl ShardHandle {
    /// Waits for the thread, which ends after [`ShardCommand::Stop`].
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(shard = self.index, "the shard's thread panicked");
        }
    }
}

/// Datagrams that landed on another shard than their connection's.
pub(super) struct Datagram {
    pub(super) peer_addr: SocketAddr,
    pub(super) local_addr: SocketAddr,
    pub(super) rx_time: Option<SystemTime>,
    pub(super) bytes: Vec<u8>,
    pub(super) gro: Option<u16>,
    pub(super) via: Option<Via>,
}

/// The shard's ends of its queues.
pub(super) struct Edges {
    pub(super) commands: mpsc::Receiver<ShardCommand>,
    pub(super) sideways_in: mpsc::Receiver<Datagram>,
    pub(super) sideways: Vec<mpsc::Sender<Datagram>>,
    pub(super) relay: Option<UdpSocket>,
}

/// Answers. Whoever asked may have gone; then nobody needs it.
pub(super) fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    let _nobody_waits = reply.send(value);
}

pub(super) fn handle(slot: u32, generation: u32) -> Handle {
    Handle { slot, generation }
}

/// Operators' commands that may wait.
pub(super) const COMMAND_QUEUE: usize = 256;
/// Batches on their way to one shard.
pub(super) const SIDEWAYS_QUEUE: usize = 1_024;
