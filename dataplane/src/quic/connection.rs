//! A connection before its handshake, and the handle on one that lives.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use boring::ssl::SslRef;
use tidegate_proto::v1::{self, ClosedBy};
use tokio::task::{JoinHandle, spawn_local};

use super::{
    ApplicationOverQuic, ConnectionShutdownBehaviour, HandshakeError, HandshakeInfo, QuicCommand,
    QuicheConnection,
    cid::Cid,
    shared::Shared,
    stats,
    worker::{self, Closing, Core, FailedHandshake, Running},
};
use crate::{
    connections::{Handle, LiveConnection},
    task::Task,
};

/// A connection that has not begun its handshake: its first packet waits in the queue.
///
/// Dropping it, or a future made from it, ends the connection and leaves its record.
#[must_use = "start it, or drive its handshake"]
pub struct InitialConnection {
    core: Core,
}

impl InitialConnection {
    pub(crate) fn new(core: Core) -> Self {
        Self { core }
    }

    /// The address that the client's packet came to.
    pub fn local_addr(&self) -> SocketAddr {
        self.core.shared.local
    }

    /// The client's address. Not validated unless there was a Retry.
    pub fn peer_addr(&self) -> SocketAddr {
        self.core.shared.peer.get()
    }

    /// Gives access to the TLS session before the handshake.
    pub fn with_ssl<R>(&mut self, look: impl FnOnce(&mut SslRef) -> R) -> R {
        let mut qconn = self.core.shared.qconn.borrow_mut();
        look(QuicheConnection::as_mut(&mut qconn))
    }

    /// Facts of the handshake that is to come.
    pub fn handshake_info(&self) -> HandshakeInfo {
        self.core.shared.handshake.borrow().clone()
    }

    /// A handle, for statistics and commands.
    pub fn connection(&self) -> QuicConnection {
        QuicConnection {
            shared: self.core.shared.clone(),
        }
    }

    /// A future that drives the handshake on the caller's own task.
    pub fn handshake_fut<A: ApplicationOverQuic>(
        self,
        application: A,
    ) -> (
        QuicConnection,
        impl Future<Output = Result<Running<A>, FailedHandshake>>,
    ) {
        (self.connection(), worker::handshake(self.core, application))
    }

    /// Drives the handshake on a task of its own and pauses the connection after it, so
    /// that the caller can decide, and then [`resume`](Self::resume) or refuse it. A
    /// failed one lingers on its own. Dropping the future ends the connection.
    ///
    /// # Errors
    /// When the handshake does not complete.
    pub async fn handshake<A: ApplicationOverQuic>(
        self,
        application: A,
    ) -> Result<(QuicConnection, Running<A>), HandshakeError> {
        let (connection, handshake) = self.handshake_fut(application);
        match Task::spawn(handshake).await {
            Ok(Ok(running)) => Ok((connection, running)),
            Ok(Err(FailedHandshake { error, closing })) => {
                spawn_local(closing.linger());
                Err(error)
            }
            Err(_runtime_shuts_down) => Err(HandshakeError::ConnectionClosed),
        }
    }

    /// Serves a connection that was paused after its handshake, on a task of its own.
    pub fn resume<A: ApplicationOverQuic>(running: Running<A>) -> JoinHandle<()> {
        spawn_local(async { running.run().await.linger().await })
    }

    /// Drives the connection from handshake to close on a task of its own.
    pub fn start<A: ApplicationOverQuic>(self, application: A) -> QuicConnection {
        let (connection, handshake) = self.handshake_fut(application);
        spawn_local(async {
            let closing: Closing = match handshake.await {
                Ok(running) => running.run().await,
                Err(failed) => failed.closing,
            };
            closing.linger().await;
        });
        connection
    }
}

/// A handle on a connection. It stays readable after the connection's end.
#[derive(Clone)]
pub struct QuicConnection {
    shared: Rc<Shared>,
}

impl QuicConnection {
    /// The address of this side.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local
    }

    /// The client's address: the last one that was validated.
    pub fn peer_addr(&self) -> SocketAddr {
        self.shared.peer.get()
    }

    /// Its place in the shard's registry.
    pub fn handle(&self) -> Handle {
        self.shared.handle
    }

    /// The source connection ID of the handshake.
    pub fn scid(&self) -> &Cid {
        &self.shared.scid
    }

    /// Facts of the handshake.
    pub fn handshake_info(&self) -> HandshakeInfo {
        self.shared.handshake.borrow().clone()
    }

    /// The server name of the handshake, lower case; empty if there is none.
    pub fn server_name(&self) -> String {
        let tls = self.shared.tls.borrow();
        tls.as_ref()
            .map(|tls| tls.server_name.clone())
            .unwrap_or_default()
    }

    /// Names the listener that the client came through.
    pub fn set_listener(&self, listener: Arc<str>) {
        *self.shared.listener.borrow_mut() = Some(listener);
    }

    /// The listener that it came through, once that is known.
    pub fn listener(&self) -> Option<Arc<str>> {
        self.shared.listener.borrow().clone()
    }

    /// The statistics of this moment.
    pub fn stats(&self) -> v1::SocketStats {
        stats::socket_stats(&self.shared.qconn.borrow())
    }

    /// Who closed it, the codes and the reason; complete after its end.
    pub fn audit_stats(&self) -> v1::AuditStats {
        self.shared.audit.borrow().clone()
    }

    /// Queues a command for the next turn. Says whether there was room.
    pub fn command(&self, command: QuicCommand) -> bool {
        self.shared.command(command)
    }

    /// Lets requests under way end, refuses others, and closes when idle or at
    /// `deadline`.
    pub fn drain(&self, deadline: Instant) {
        self.shared.drain(deadline);
    }

    /// Closes the connection; resolves when the CONNECTION_CLOSE is on its way, so that
    /// the peer can know.
    pub async fn shutdown(&self, behaviour: ConnectionShutdownBehaviour) {
        self.shared.close(behaviour, ClosedBy::Local);
        poll_fn(|cx| self.poll_shutdown(cx)).await;
    }

    /// Whether a close that was asked for is on its way.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.shared.is_shut(cx.waker()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}
