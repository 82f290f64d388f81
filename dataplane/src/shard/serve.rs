//! The life of a QUIC connection on its shard: handshake, admission, service, end.

use std::{rc::Rc, sync::Arc};

use tokio::task::spawn_local;

use super::Shard;
use crate::{
    proxy::h3::H3,
    quic::{Closing, ConnectionShutdownBehaviour, InitialConnection, QuicConnection},
    snapshot::{BindingKey, Listener},
};

impl Shard {
    /// Serves a new connection of a binding on a task of its own.
    pub(super) fn serve_quic(self: Rc<Self>, key: BindingKey, initial: InitialConnection) {
        spawn_local(async move {
            let application = H3::new(self.clone(), key.clone(), initial.connection());
            let (connection, handshake) = initial.handshake_fut(application);
            let closing: Closing = match handshake.await {
                Err(failed) => failed.closing,
                Ok(running) => match self.admit(&key, &connection) {
                    Err(refusal) => running.refuse(&refusal),
                    Ok(listener) => {
                        if let Some(deadline) = self.drain_deadline(Some(&listener.id)) {
                            connection.drain(deadline);
                        }
                        running.run().await
                    }
                },
            };
            closing.linger().await;
        });
    }

    /// Decides between handshake and service, by the configuration of this moment.
    fn admit(
        &self,
        key: &BindingKey,
        connection: &QuicConnection,
    ) -> Result<Arc<Listener>, ConnectionShutdownBehaviour> {
        let configuration = self.configuration();
        let name = connection.server_name();
        let listener = configuration
            .snapshot
            .binding(key)
            .map(|binding| binding.listener_of_connection(Some(&*name)))
            .ok_or_else(|| refusal(H3_REQUEST_REJECTED, "the listener is gone"))?;
        connection.set_listener(listener.id.clone());
        if listener.http3.is_none() {
            return Err(refusal(H3_VERSION_FALLBACK, "HTTP/3 is off for this name"));
        }
        if !listener.admission.admits(connection.peer_addr().ip()) {
            return Err(refusal(listener.admission.error_code, "not admitted"));
        }
        Ok(listener.clone())
    }
}

fn refusal(error_code: u64, reason: &str) -> ConnectionShutdownBehaviour {
    ConnectionShutdownBehaviour::application(error_code, reason)
}

/// RFC 9114 8.1.
const H3_REQUEST_REJECTED: u64 = 0x10b;
const H3_VERSION_FALLBACK: u64 = 0x110;
