//! What every stage of a connection does.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

use quiche::{PathEvent, RecvInfo};
use tidegate_proto::v1::ClosedBy;
use tokio::time::{Sleep, sleep_until};

use super::{
    aead::Usage, coalesced, delayed_ack::DelayedAck, farewell::Farewell, first_flight::FirstFlight,
    ids::Ids, mtu::Mtu, pacer::Pacer, paths, unvalidated::Unvalidated,
};
use crate::{
    quic::{
        ConnectionShutdownBehaviour, QuicheConnection,
        cid::CID_LEN,
        endpoint::Endpoint,
        metrics::{DatagramDrop, EarlyDataOutcome},
        relay::frame::Way,
        shared::Shared,
        stats::{self, BandwidthReporter},
    },
    tls::{Flight, Terms},
};

pub(crate) struct Core {
    pub(crate) shared: Rc<Shared>,
    timer: Pin<Box<Sleep>>,
    armed: Option<Instant>,
    timer_fired: bool,
    /// The socket had no room for what is still to be sent.
    blocked: bool,
    /// There may be more to send than a turn takes.
    unfinished: bool,
    pub(super) delayed_ack: DelayedAck,
    pub(super) bandwidth: BandwidthReporter,
    ids: Ids,
    /// What the client called this connection in its first packets.
    pub(super) initial: Option<Vec<u8>>,
    /// The client has retired connection IDs.
    retired: bool,
    pub(super) aead: Usage,
    farewell: Farewell,
    /// Until the handshake is complete.
    pub(super) first_flight: Option<Box<FirstFlight>>,
    pacer: Pacer,
    mtu: Mtu,
    pub(super) recorded: bool,
    /// Nothing that came could be read, or was: there never was a client.
    pub(super) unread: bool,
    /// The handshake is complete.
    pub(super) complete: bool,
    /// Whether its early data is served, once that was decided.
    early: Option<bool>,
    /// Counts until the client's address is validated.
    pub(super) unvalidated: Unvalidated,
}

impl Core {
    pub(crate) fn new(shared: Rc<Shared>, nonce: u64, initial: Vec<u8>) -> Self {
        let started = shared.started;
        let ids = Ids::new(nonce, &shared.scid);
        let validated = shared.handshake.borrow().retry();
        Self {
            shared,
            timer: Box::pin(sleep_until(started.into())),
            armed: None,
            timer_fired: false,
            blocked: false,
            unfinished: false,
            delayed_ack: DelayedAck::default(),
            bandwidth: BandwidthReporter::new(started),
            ids,
            initial: Some(initial),
            retired: false,
            aead: Usage::default(),
            farewell: Farewell::default(),
            first_flight: Some(Box::default()),
            pacer: Pacer::default(),
            mtu: Mtu::default(),
            recorded: false,
            unread: false,
            complete: false,
            early: None,
            unvalidated: Unvalidated::new(validated),
        }
    }

    /// Feeds what came in, and lets timers act. Says whether there were packets.
    pub(super) fn receive(&mut self) -> bool {
        let mut qconn = self.shared.qconn.borrow_mut();
        let mut received = false;
        while let Some(mut incoming) = self.shared.next_incoming() {
            let (client, via) = (incoming.peer_addr, incoming.via);
            let info = RecvInfo {
                from: client,
                // To QUIC it makes no difference which data plane an address reaches.
                to: match via {
                    Some(_) => self.shared.local,
                    None => incoming.local_addr,
                },
            };
            if via.is_some() {
                let mut audit = self.shared.audit.borrow_mut();
                audit.relayed_datagrams += incoming.count() as u64;
            }
            self.aead.fed(incoming.count() as u64);
            let turned = self.shared.vias.borrow().of(client) != via;
            let before = turned.then(|| qconn.stats().recv);
            for datagram in incoming.segments_mut() {
                if self.retired && names_retired(&qconn, datagram) {
                    let metrics = self.shared.endpoint.host.metrics();
                    metrics.datagram_dropped(DatagramDrop::RetiredConnectionId);
                    continue;
                }
                // What strangers send lets nobody have more.
                if client == self.shared.peer.get() {
                    self.unvalidated.received(datagram.len());
                }
                let expected = self.unvalidated.feed(datagram, &qconn);
                coalesced::feed(&mut qconn, datagram, info);
                self.unvalidated.fed(expected, &qconn);
                self.retired |= qconn.retired_scids() > 0;
            }
            // Only what the client sent itself, and now, shows the way to it.
            if before.is_some_and(|before| qconn.stats().recv > before) {
                self.shared.vias.borrow_mut().learn(client, via);
            }
            self.delayed_ack.received(incoming.count());
            received = true;
        }
        if std::mem::take(&mut self.timer_fired) {
            self.pacer.wake();
            let due = qconn.timeout_instant();
            qconn.on_timeout();
            if due.is_some_and(|due| due <= Instant::now()) {
                self.mtu.look_after(&mut qconn);
            }
        }
        received
    }

    pub(super) fn execute_commands(&mut self) {
        while let Some(command) = self.shared.next_command() {
            self.shared.endpoint.host.metrics().command_executed();
            command.execute(&mut self.shared.qconn.borrow_mut());
        }
    }

    /// Whether there is nothing left to do but to close.
    pub(super) fn is_over(&self) -> bool {
        let qconn = self.shared.qconn.borrow();
        qconn.is_closed() || qconn.is_draining() || qconn.local_error().is_some()
    }

    pub(super) fn close(&mut self, behaviour: &ConnectionShutdownBehaviour) {
        behaviour.apply(&mut self.shared.qconn.borrow_mut());
    }

    /// The handshake is complete.
    pub(super) fn established(&mut self, now: Instant) {
        self.complete = true;
        self.first_flight = None;
        self.unvalidated.end();
        let shared = &self.shared;
        shared.handshake.borrow_mut().complete(now);
        let mut qconn = shared.qconn.borrow_mut();
        let resumed = qconn.is_resumed();
        note_tls(shared, &mut qconn, self.early == Some(true));
        if let Some(transport) = &*shared.transport.borrow() {
            self.pacer.begin(&qconn, transport, now);
            self.mtu.begin(transport);
        }
        if let Some(tls) = &*shared.tls.borrow() {
            let limit = shared.endpoint.host.packets_per_key();
            self.aead.begin(&tls.cipher, limit);
        }
        if let Some(refused) = EarlyDataOutcome::of_refusal(qconn.early_data_reason()) {
            shared.endpoint.host.metrics().early_data(refused);
        }
        let handshake = shared.handshake.borrow();
        shared.endpoint.host.metrics().handshake_completed(
            handshake.queued(),
            handshake.elapsed(),
            resumed,
        );
        if let Some(initial) = self.initial.take() {
            shared.endpoint.end_handshake(&initial);
        }
    }

    /// Whether there is early data that may be served before the handshake is complete. A
    /// flight that may be a copy is left to wait for that.
    pub(super) fn has_early_data(&mut self) -> bool {
        let shared = &self.shared;
        let mut qconn = shared.qconn.borrow_mut();
        if self.early.is_some() || !qconn.is_in_early_data() {
            return false;
        }
        let ssl: &mut boring::ssl::SslRef = QuicheConnection::as_mut(&mut qconn);
        let mut random = [0; 32];
        ssl.client_random(&mut random);
        let host = &shared.endpoint.host;
        let outcome = match host.early_flight(random) {
            Flight::New => EarlyDataOutcome::Accepted,
            Flight::Replayed => EarlyDataOutcome::Replayed,
            Flight::NoRoom => EarlyDataOutcome::RegisterFull,
        };
        host.metrics().early_data(outcome);
        let early = outcome == EarlyDataOutcome::Accepted;
        if early {
            note_tls(shared, &mut qconn, true);
        }
        self.early = Some(early);
        early
    }

    /// Tells the host of an established connection that is about to be served.
    pub(super) fn announce(&self) {
        self.shared
            .endpoint
            .host
            .established(self.shared.handle, self.shared.facts());
    }

    /// Keeps the client supplied with connection IDs, follows its address, and takes the
    /// measure of the bandwidth.
    pub(super) fn look_after(&mut self, now: Instant) {
        let shared = &self.shared;
        let mut qconn = shared.qconn.borrow_mut();
        self.ids.supply(shared, &mut qconn);
        while qconn.retired_scid_next().is_some() {}
        while let Some(event) = qconn.path_event_next() {
            paths::note(shared, &event);
            match event {
                PathEvent::PeerMigrated(local, peer) => {
                    paths::migrated(shared, local, peer);
                    self.mtu.migrated();
                }
                PathEvent::New(..) => self.mtu.validating(true),
                PathEvent::Validated(..) | PathEvent::FailedValidation(..) => {
                    self.mtu.validating(false);
                }
                PathEvent::PmtuUpdated { peer, pmtu, .. } if peer == shared.peer.get() => {
                    self.mtu.found(pmtu);
                    shared.endpoint.host.metrics().path_mtu_changed();
                }
                _ => {}
            }
        }
        self.bandwidth.update(now, || qconn.stats().into());
    }

    /// Gathers everything that may be sent now. All of it leaves together, so that one look at
    /// the clock is enough.
    pub(super) fn transmit(&mut self, now: Instant) {
        self.delayed_ack.sent();
        let shared = &self.shared;
        let mut qconn = shared.qconn.borrow_mut();
        let Some(socket) = shared.endpoint.socket(shared.local) else {
            return;
        };
        let metrics = shared.endpoint.host.metrics();
        let relay = &shared.endpoint.tables.relay;
        let vias = shared.vias.borrow();
        let (mut relayed, mut taken) = (0, 0);
        let limit = self.mtu.limit();
        shared.datagram_limit.set(limit);
        self.blocked = socket.transmit(|egress| {
            loop {
                let closing = qconn.local_error().is_some();
                if !closing && !self.pacer.allows(&qconn) {
                    return false;
                }
                if !vias.is_empty() && relay.is_full() {
                    return true;
                }
                let Some(room) = egress.room() else {
                    return true;
                };
                if taken == MOST_DATAGRAMS {
                    self.unfinished = true;
                    return false;
                }
                taken += 1;
                let size = limit.map_or(room.len(), |limit| limit.min(room.len()));
                let size = self.unvalidated.limit(size);
                if size == 0 {
                    return false;
                }
                let Some((len, info)) = next_datagram(&mut qconn, &mut room[..size], now) else {
                    return false;
                };
                self.pacer.sent(len);
                self.unvalidated.sent(len);
                self.aead.sealed();
                if let Some(flight) = &mut self.first_flight {
                    flight.keep(&room[..len]);
                }
                // Only to an address that is known to be the client's.
                if qconn.local_error().is_some() && qconn.is_established() {
                    self.farewell.keep(&room[..len], info.from, info.to);
                }
                if let Some(via) = vias.of(info.to) {
                    let (way, datagram) = (Way::ToClient, &room[..len]);
                    relay.send(via.relay, way, info.to, via.local, datagram, metrics);
                    relayed += 1;
                } else if socket.serves(info.from) {
                    egress.push(len, info.from, info.to);
                    if self.mtu.is_probe(len) {
                        egress.end_message();
                    }
                } else {
                    // The client moved between IPv4 and IPv6.
                    send_from(&shared.endpoint, &room[..len], info.from, info.to);
                }
            }
        });
        if relayed > 0 {
            shared.audit.borrow_mut().relayed_datagrams += relayed;
        }
    }

    /// Tells a client that goes on sending once more that the connection is closed.
    pub(super) fn repeat_farewell(&mut self) {
        let Self {
            shared, farewell, ..
        } = self;
        if let Some((datagram, from, to)) = farewell.answer() {
            send_copy(shared, datagram, from, to);
        }
    }

    /// Waits for a packet, a command, the next timer or `deadline`, room in the socket, or
    /// `data`, whose value it returns.
    pub(super) async fn wait<D: Future>(
        &mut self,
        deadline: Option<Instant>,
        data: D,
    ) -> Option<D::Output> {
        if std::mem::take(&mut self.unfinished) {
            // After what was gathered has left, and acknowledgements have come in.
            tokio::task::yield_now().await;
            return None;
        }
        let mut data = pin!(data);
        self.arm(deadline);
        let mut asked_for_room = false;
        poll_fn(|cx| {
            if self.shared.rung(cx.waker()) {
                return Poll::Ready(None);
            }
            if let Poll::Ready(value) = data.as_mut().poll(cx) {
                return Poll::Ready(Some(value));
            }
            if self.timer_is_over(cx, deadline) {
                self.timer_fired = true;
                return Poll::Ready(None);
            }
            if self.blocked {
                if asked_for_room {
                    return Poll::Ready(None);
                }
                asked_for_room = true;
                let relay = &self.shared.endpoint.tables.relay;
                if !self.shared.vias.borrow().is_empty() && relay.is_full() {
                    relay.wake_when_writable(cx.waker());
                } else if let Some(socket) = self.shared.endpoint.socket(self.shared.local) {
                    socket.wake_when_writable(cx.waker());
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Whether it is time for what is next. A timer that was set for something that has
    /// moved since is set again.
    fn timer_is_over(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> bool {
        while self.armed.is_some() && self.timer.as_mut().poll(cx).is_ready() {
            self.armed = None;
            if self
                .next(deadline)
                .is_none_or(|next| next <= Instant::now())
            {
                return true;
            }
            self.arm(deadline);
        }
        false
    }

    /// Sets the timer. A later time than the one it has is left for when it fires: most
    /// deadlines move with every packet.
    fn arm(&mut self, deadline: Option<Instant>) {
        let Some(next) = self.next(deadline) else {
            return;
        };
        if self.armed.is_none_or(|armed| next < armed) {
            self.timer.as_mut().reset(next.into());
            self.armed = Some(next);
        }
    }

    fn next(&self, deadline: Option<Instant>) -> Option<Instant> {
        let timeout = self.shared.qconn.borrow().timeout_instant();
        let times = [timeout, deadline, self.pacer.held()];
        times.into_iter().flatten().min()
    }
}

impl Drop for Core {
    /// A worker that is dropped in the middle still leaves its record.
    fn drop(&mut self) {
        if !self.recorded {
            self.shared.closed_by.set(Some(ClosedBy::Abort));
            self.record();
        }
        let shared = &self.shared;
        if let Some(initial) = self.initial.take() {
            shared.endpoint.end_handshake(&initial);
        }
        let mut map = shared.endpoint.tables.map.borrow_mut();
        map.remove(shared.handle);
        drop(map);
        shared.endpoint.host.unregister(shared.handle);
    }
}

/// Writes down what is known of the TLS session, and what was chosen with it.
fn note_tls(shared: &Shared, qconn: &mut QuicheConnection, early_data: bool) {
    let alpn = qconn.application_proto().to_vec();
    let resumed = qconn.is_resumed();
    let ssl: &mut boring::ssl::SslRef = qconn.as_mut();
    *shared.transport.borrow_mut() = Terms::get(ssl).map(|terms| terms.transport.clone());
    *shared.tls.borrow_mut() = Some(stats::tls_info(ssl, &alpn, resumed, early_data));
}

/// Whether a packet comes late, to a connection ID that is no longer in use. To quiche that
/// would be a violation, for which it would close the connection.
fn names_retired(qconn: &QuicheConnection, datagram: &[u8]) -> bool {
    let short = datagram.first().is_some_and(|first| first & 0x80 == 0);
    let dcid = datagram.get(1..1 + CID_LEN).filter(|_| short);
    dcid.is_some_and(|dcid| !qconn.source_ids().any(|id| id.as_ref() == dcid))
}

/// Sends a datagram that was sent before.
pub(super) fn send_copy(shared: &Shared, datagram: &[u8], from: SocketAddr, to: SocketAddr) {
    let Endpoint { tables, host, .. } = &*shared.endpoint;
    if let Some(via) = shared.vias.borrow().of(to) {
        let metrics = host.metrics();
        tables
            .relay
            .send(via.relay, Way::ToClient, to, via.local, datagram, metrics);
    } else {
        send_from(&shared.endpoint, datagram, from, to);
    }
}

/// Gathers a datagram for the socket that has `from`.
fn send_from(endpoint: &Endpoint, datagram: &[u8], from: SocketAddr, to: SocketAddr) {
    let mut gathered = false;
    if let Some(socket) = endpoint.socket(from) {
        socket.transmit(|egress| {
            if let Some(room) = egress.room() {
                room[..datagram.len()].copy_from_slice(datagram);
                egress.push(datagram.len(), from, to);
                gathered = true;
            }
        });
    }
    if !gathered {
        let metrics = endpoint.host.metrics();
        metrics.datagram_dropped(DatagramDrop::SendFull);
    }
}

/// Writes one datagram.
fn next_datagram(
    qconn: &mut QuicheConnection,
    room: &mut [u8],
    now: Instant,
) -> Option<(usize, quiche::SendInfo)> {
    match qconn.send_at(room, now) {
        Ok(sent) => Some(sent),
        Err(quiche::Error::Done) => None,
        Err(error) => {
            let _already_closed = qconn.close(false, INTERNAL_ERROR, error.to_string().as_bytes());
            None
        }
    }
}

/// RFC 9000 20.1.
const INTERNAL_ERROR: u64 = 0x01;
/// What a connection sends in one turn. More at once would overflow the socket of a client
/// that is near, where there is no pacing, and keep the others waiting.
const MOST_DATAGRAMS: usize = 64;
