//! The sockets of one binding, and the tasks that serve them.

use std::{net::SocketAddr, rc::Rc, time::Instant};

use crate::{
    quic::listener::{Listener, Service},
    task::Task,
    tls::TcpAcceptor,
};

/// A binding in service. Dropping it closes its sockets.
pub(super) struct Bound {
    /// For new TCP connections; `None`: cleartext.
    pub(super) tls: Option<Rc<TcpAcceptor>>,
    /// Accepts TCP connections.
    pub(super) tcp: Option<Task<()>>,
    pub(super) quic: Option<Quic>,
    /// New connections may speak HTTP/3.
    pub(super) http3: bool,
    /// It is in no configuration any more: no new connections, and gone by then.
    pub(super) retired: Option<Instant>,
}

/// QUIC of a binding.
pub(super) struct Quic {
    pub(super) listener: Rc<Listener>,
    /// Keeps its sockets served.
    pub(super) _service: Service,
}

impl Bound {
    pub(super) fn quic_up(&self) -> bool {
        self.quic.is_some() && self.http3 && self.retired.is_none()
    }

    /// The QUIC listener that packets to this address came in at.
    pub(super) fn quic_at(&self, local: SocketAddr) -> Option<&Rc<Listener>> {
        self.quic().filter(|listener| listener.serves(local))
    }

    /// Its QUIC listener.
    pub(super) fn quic(&self) -> Option<&Rc<Listener>> {
        self.quic.as_ref().map(|quic| &quic.listener)
    }
}
