//! The sockets of one binding, and the tasks that serve them.

use std::{future::Future, net::SocketAddr, rc::Rc, time::Instant};

use tokio::task::{JoinHandle, spawn_local};

use crate::{
    quic::{endpoint::Endpoint, listener::Listener},
    tls::TcpAcceptor,
};

/// A binding in service. Dropping it closes its sockets.
pub(super) struct Bound {
    /// For new TCP connections; `None`: cleartext.
    pub(super) tls: Option<Rc<TcpAcceptor>>,
    /// Accepts TCP connections.
    pub(super) tcp: Option<Task>,
    pub(super) quic: Option<Quic>,
    /// New connections may speak HTTP/3.
    pub(super) http3: bool,
    /// It is in no configuration any more: no new connections, and gone by then.
    pub(super) retired: Option<Instant>,
}

/// QUIC of a binding.
pub(super) struct Quic {
    pub(super) endpoint: Rc<Endpoint>,
    pub(super) listener: Rc<Listener>,
    /// Receive and flush, for each socket.
    pub(super) _tasks: Vec<Task>,
}

impl Bound {
    pub(super) fn quic_up(&self) -> bool {
        self.quic.is_some() && self.http3 && self.retired.is_none()
    }

    /// The QUIC listener that packets to this address came in at.
    pub(super) fn quic_at(&self, local: SocketAddr) -> Option<&Rc<Listener>> {
        let quic = self.quic.as_ref()?;
        quic.endpoint.socket(local).map(|_| &quic.listener)
    }
}

/// A task of the shard that ends when this is dropped.
pub(super) struct Task(JoinHandle<()>);

impl Task {
    pub(super) fn spawn(future: impl Future<Output = ()> + 'static) -> Self {
        Self(spawn_local(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
