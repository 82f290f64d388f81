//! How a handshake comes to the step that costs much: the answer to a ClientHello.

use std::{future::poll_fn, time::Instant};

use super::{CONNECTION_REFUSED, Core, core::send_copy};
use crate::{
    quic::{ConnectionShutdownBehaviour, HandshakeError, QuicheConnection},
    tls::Terms,
    turnstile::PATIENCE,
};

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
        outcome
    }

    /// Feeds what came in. What that takes is taken off what handshakes may take. Says
    /// whether quiche could read any of it.
    pub(super) fn receive_handshake(&mut self) -> bool {
        let begin = Instant::now();
        let before = self.shared.qconn.borrow().stats().recv;
        self.receive();
        let turnstile = &self.shared.endpoint.tables.turnstile;
        turnstile.spend(begin.elapsed());
        let mut qconn = self.shared.qconn.borrow_mut();
        let ssl: &mut boring::ssl::SslRef = QuicheConnection::as_mut(&mut qconn);
        if let Some(terms) = Terms::get(ssl) {
            let mut handshake = self.shared.handshake.borrow_mut();
            handshake.limit(terms.transport.handshake_timeout);
        }
        let read = qconn.stats().recv;
        self.unread = qconn.is_closed() && read == 0;
        read > before
    }

    /// Sends what there is, and what a client that was heard has not got.
    pub(super) fn answer(&mut self, heard: bool, now: Instant) {
        let Some(mut flight) = self.first_flight.take() else {
            return self.transmit(now);
        };
        {
            let shared = self.shared.clone();
            let qconn = shared.qconn.borrow();
            let lost = if heard {
                flight.again(&qconn, now)
            } else {
                &[]
            };
            for datagram in lost {
                if self.unvalidated.limit(datagram.len()) < datagram.len() {
                    break;
                }
                self.unvalidated.sent(datagram.len());
                send_copy(&shared, datagram, shared.local, shared.peer.get());
            }
            flight.begin(&qconn);
        }
        self.first_flight = Some(flight);
        self.transmit(now);
        if let Some(flight) = &mut self.first_flight {
            flight.sent(now);
        }
    }
}
