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
    /// It is in no configuration any more: no new connections, and gone by then.
    pub(super) retired: Option<Instant>,
}

/// QUIC of a binding.
pub(super) struct Quic {
    pub(super) listener: Rc<Listener>,
    /// Keeps its sockets served.
    pub(super) _service: Service,
    /// HTTP/3 is switched off: no new connections, and gone by then.
    pub(super) off: Option<Instant>,
}

impl Bound {
    pub(super) fn quic_up(&self) -> bool {
        let on = self.quic.as_ref().is_some_and(|quic| quic.off.is_none());
        on && self.retired.is_none()
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
