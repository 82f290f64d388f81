//! How a handshake comes to the step that costs much: the answer to a ClientHello.

use std::{
    future::poll_fn,
    time::{Duration, Instant},
};

use super::{CONNECTION_REFUSED, Core};
use crate::quic::{ConnectionShutdownBehaviour, HandshakeError};

impl Core {
    /// Waits until there is time for what came in, as long as no whole ClientHello did.
    pub(super) async fn take_turn(&mut self) -> Result<(), HandshakeError> {
        let shared = self.shared.clone();
        if shared.qconn.borrow().peer_transport_params().is_some() || !shared.has_incoming() {
            return Ok(());
        }
        let (turnstile, since) = (&shared.endpoint.tables.turnstile, Instant::now());
        let validated = shared.handshake.borrow().retry();
        let Some(place) = turnstile.enter(validated, since) else {
            return Ok(());
        };
        let metrics = shared.endpoint.host.metrics();
        metrics.handshakes_waiting(turnstile.waiting());
        let deadline = since + PATIENCE;
        let outcome = loop {
            let turn = poll_fn(|cx| place.poll(cx));
            let its_turn = self.wait(Some(deadline), turn).await.is_some();
            let now = Instant::now();
            if its_turn {
                shared.handshake.borrow_mut().waited(since, now);
                break Ok(());
            }
            self.execute_commands();
            if self.is_over() {
                break Err(HandshakeError::ConnectionClosed);
            }
            if now >= deadline {
                self.close(&ConnectionShutdownBehaviour {
                    send_application_close: false,
                    error_code: CONNECTION_REFUSED,
                    reason: b"overloaded".to_vec(),
                });
                self.unread = shared.qconn.borrow().stats().recv == 0;
                break Err(HandshakeError::Overloaded);
            }
        };
        drop(place);
        metrics.handshakes_waiting(turnstile.waiting());
        outcome
    }

    /// Feeds what came in. What that takes is taken off what handshakes may take.
    pub(super) fn receive_handshake(&mut self) {
        let begin = Instant::now();
        self.receive();
        let turnstile = &self.shared.endpoint.tables.turnstile;
        turnstile.spend(begin.elapsed());
        let qconn = self.shared.qconn.borrow();
        self.unread = qconn.is_closed() && qconn.stats().recv == 0;
    }
}

/// Clients have sent their first packets again by then (RFC 9002 6.2.2), and most go on doing
/// so: a shard that cannot keep up would answer only those that have given up.
const PATIENCE: Duration = Duration::from_secs(2);
