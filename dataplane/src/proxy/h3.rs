//! HTTP/3 (RFC 9114) on one connection, as an application over QUIC.
//!
//! quiche's h3 reads and writes frames. Here each request stream gets a task that runs
//! [`serve`](super::serve) and hands the response over piece by piece; a piece is taken
//! only when QUIC has room for it, and a request's body is read only while the task has
//! room, so that flow control reaches through the gateway in both directions.

mod cancelled;
mod early;
pub(crate) mod head;
mod respond;
mod stream;
mod tunnel;
mod unheard;

use std::{
    future::poll_fn,
    net::SocketAddr,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use quiche::h3;
use rustc_hash::FxHashMap;
use tokio::time::timeout_at;

use self::{
    cancelled::Cancelled,
    stream::{Ready, Stream},
    unheard::{Missing, Unheard},
};
use super::{Origin, Transport};
use crate::{
    quic::{
        Activity, ApplicationError, ApplicationOverQuic, ConnectionShutdownBehaviour, DrainPhase,
        HandshakeInfo, QuicConnection, QuicheConnection,
        metrics::{Metrics as _, RequestRejected},
    },
    shard::Shard,
    snapshot::{BindingKey, Scheme},
    tls::Terms,
};

/// HTTP/3 on one connection.
pub struct H3 {
    shard: Rc<Shard>,
    binding: BindingKey,
    connection: QuicConnection,
    serving: Option<Box<Serving>>,
}

/// What there is once the handshake is complete.
struct Serving {
    h3: h3::Connection,
    origin: Rc<Origin>,
    ready: Rc<Ready>,
    /// The client chooses the ids, but may open only so many at a time.
    streams: FxHashMap<u64, Stream>,
    unheard: Unheard,
    cancelled: Cancelled,
    /// The client has cancelled more than it may.
    overloaded: bool,
    /// STOP_SENDING frames so far.
    stopped: u64,
    /// DATAGRAM frames so far.
    datagrams: u64,
    /// Streams that were cancelled, and that quiche may still have.
    leaving: Vec<u64>,
    requests: u64,
    /// Requests may wait for the handshake to be complete.
    holding: bool,
    /// Streams whose responses are whole with quiche, and may not be with the client.
    undelivered: Vec<u64>,
    /// First request id that was not seen yet.
    next_id: u64,
    /// First request id that is refused.
    refused_from: Option<u64>,
    /// GOAWAY that waits for room in the control stream.
    goaway: Option<u64>,
    /// The client has said that it sends no further requests.
    client_goaway: bool,
    /// Streams that ended before it was known what they were.
    cut_short: u32,
    /// In this turn.
    turn: Turn,
}

/// What a turn has seen.
#[derive(Default)]
struct Turn {
    /// A request began, or came to its end: clients send the end in a packet of its own.
    asked: bool,
    /// There was something to write.
    wrote: bool,
}

impl H3 {
    /// An application for a connection of a binding.
    pub fn new(shard: Rc<Shard>, binding: BindingKey, connection: QuicConnection) -> Self {
        Self {
            shard,
            binding,
            connection,
            serving: None,
        }
    }
}

impl ApplicationOverQuic for H3 {
    fn on_conn_established(
        &mut self,
        qconn: &mut QuicheConnection,
        _: &HandshakeInfo,
    ) -> Result<(), ApplicationError> {
        let h3 = settings().and_then(|settings| h3::Connection::with_transport(qconn, &settings));
        let server_name = qconn
            .server_name()
            .map(|name| name.to_ascii_lowercase().into());
        let ssl: &mut boring::ssl::SslRef = qconn.as_mut();
        let terms = Terms::get(ssl);
        let origin = Origin::new(
            self.shard.clone(),
            self.binding.clone(),
            Scheme::Https,
            Transport::Quic,
            self.connection.local_addr(),
            server_name,
            self.connection.peer_addr(),
        )
        .under(terms);
        self.serving = Some(Box::new(Serving {
            h3: h3.map_err(protocol)?,
            origin: Rc::new(origin),
            ready: Rc::default(),
            streams: FxHashMap::default(),
            unheard: Unheard::default(),
            cancelled: Cancelled::new(Instant::now()),
            overloaded: false,
            stopped: 0,
            datagrams: 0,
            leaving: Vec::new(),
            requests: 0,
            holding: false,
            undelivered: Vec::new(),
            next_id: 0,
            refused_from: None,
            goaway: None,
            client_goaway: false,
            cut_short: 0,
            turn: Turn::default(),
        }));
        Ok(())
    }

    fn should_act(&self) -> bool {
        self.serving.is_some()
    }

    async fn wait_for_data(&mut self) -> Result<(), ApplicationError> {
        match &self.serving {
            Some(serving) => serving.wait().await,
            None => poll_fn(|_| Poll::<()>::Pending).await,
        }
        Ok(())
    }

    fn process_reads(&mut self, qconn: &mut QuicheConnection) -> Result<(), ApplicationError> {
        let peer = self.connection.peer_addr();
        match &mut self.serving {
            Some(serving) => serving.poll(qconn, peer),
            None => Ok(()),
        }
    }

    fn process_writes(&mut self, qconn: &mut QuicheConnection) -> Result<(), ApplicationError> {
        let peer = self.connection.peer_addr();
        match &mut self.serving {
            Some(serving) => serving.write(qconn, peer),
            None => Ok(()),
        }
    }

    fn answers_follow(&mut self) -> bool {
        let turn = (self.serving.as_mut()).map(|serving| std::mem::take(&mut serving.turn));
        turn.is_some_and(|turn| turn.asked && !turn.wrote)
    }

    fn rest(&mut self) {
        if let Some(serving) = &mut self.serving {
            serving.h3.shrink_to_fit();
            serving.streams.shrink_to_fit();
            serving.undelivered.shrink_to_fit();
            serving.leaving.shrink_to_fit();
            serving.unheard.shrink_to_fit();
            serving.ready.shrink_to_fit();
        }
    }

    fn on_drain(
        &mut self,
        _: &mut QuicheConnection,
        phase: DrainPhase,
    ) -> Result<(), ApplicationError> {
        if let Some(serving) = &mut self.serving {
            serving.goaway = Some(match phase {
                DrainPhase::Announce => LARGEST_REQUEST_ID,
                DrainPhase::Refuse => {
                    serving.refused_from = Some(serving.next_id);
                    serving.next_id
                }
            });
            serving.ready.ring();
        }
        Ok(())
    }

    fn goodbye(&self) -> ConnectionShutdownBehaviour {
        ConnectionShutdownBehaviour::application(H3_NO_ERROR, "")
    }

    fn activity(&self) -> Activity {
        self.serving
            .as_ref()
            .map_or(Activity::default(), |serving| Activity {
                requests: serving.requests,
                active: serving.streams.len() as u64,
                undelivered: serving.undelivered.len() as u64,
            })
    }
}

impl Serving {
    /// Waits for a task that has something to say, or a stream whose time is over.
    async fn wait(&self) {
        let ready = self.ready.wait();
        let oldest = self.unheard.oldest();
        match oldest.map(|since| since + header_timeout(&self.origin)) {
            Some(deadline) => drop(timeout_at(deadline.into(), ready).await),
            None => ready.await,
        }
    }

    /// Takes the events that packets brought.
    fn poll(
        &mut self,
        qconn: &mut QuicheConnection,
        peer: SocketAddr,
    ) -> Result<(), ApplicationError> {
        if self.holding && qconn.is_established() {
            self.release(peer);
        }
        self.unheard.notice(qconn.readable(), Instant::now);
        self.leave_datagrams(qconn);
        loop {
            match self.h3.poll(qconn) {
                Ok((id, event)) => {
                    self.event(qconn, peer, id, event);
                    self.check_load()?;
                }
                Err(h3::Error::Done) => break,
                // A stream ended amid what tells its type, which is no error (RFC 9114 6.2).
                // quiche reads on where there is nothing any more, and never forgets it.
                Err(h3::Error::TransportError(quiche::Error::InvalidStreamState(_)))
                    if self.cut_short < MOST_CUT_SHORT =>
                {
                    self.cut_short += 1;
                }
                // quiche has closed the connection with the right code.
                Err(error) => return Err(protocol(error)),
            }
        }
        self.notice_stopped(qconn);
        self.let_leave(qconn);
        self.check_load()
    }

    /// No request here has a use for them (RFC 9297 2.1).
    fn leave_datagrams(&mut self, qconn: &mut QuicheConnection) {
        let mut some = false;
        while qconn.dgram_recv_buf().is_ok() {
            some = true;
        }
        if some {
            // quiche has dropped those for which its queue had no room.
            let all = qconn.stats().dgram_recv as u64;
            let before = std::mem::replace(&mut self.datagrams, all);
            self.origin.shard.metrics.unwanted_datagrams(all - before);
        }
    }

    /// quiche forgets a stopped stream, and lets the client open another one, when both sides
    /// are done with it; but if the client's is the later one, only when it is asked.
    fn let_leave(&mut self, qconn: &mut QuicheConnection) {
        self.leaving.retain(|id| {
            let capacity = qconn.stream_capacity(*id);
            !matches!(capacity, Err(quiche::Error::InvalidStreamState(_)))
        });
    }

    /// Cancels what the client wants no response to. quiche tells of a stream that was stopped
    /// only if it was not writable before, and may have forgotten it by now; its count tells
    /// of all.
    fn notice_stopped(&mut self, qconn: &mut QuicheConnection) {
        let stopped = qconn.stopped_stream_count_remote();
        if std::mem::replace(&mut self.stopped, stopped) == stopped {
            return;
        }
        let ids: Vec<u64> = self.streams.keys().copied().collect();
        for id in ids {
            if qconn.stream_capacity(id).is_err() {
                self.cancel(qconn, id);
            }
        }
    }

    fn event(&mut self, qconn: &mut QuicheConnection, peer: SocketAddr, id: u64, event: h3::Event) {
        match event {
            h3::Event::Headers { .. } | h3::Event::Data if self.unheard.is_answered(id) => {
                self.unheard.heard(id);
                ask_no_more(qconn, id);
            }
            h3::Event::Headers { list, more_frames } => match self.streams.get_mut(&id) {
                Some(stream) => {
                    if !stream.trailers(&list) {
                        self.malformed(qconn, id);
                    }
                }
                None => self.request(qconn, peer, id, &list, more_frames),
            },
            h3::Event::Data => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.set_readable();
                    stream.read(&mut self.h3, qconn);
                }
            }
            h3::Event::Finished => {
                self.unheard.heard(id);
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.finish_upload();
                    stream.serve_early();
                    self.turn.asked = true;
                }
            }
            h3::Event::Reset(_) => {
                self.unheard.heard(id);
                self.cancel(qconn, id);
            }
            h3::Event::GoAway => self.client_goaway = true,
            // They are the client's hints.
            h3::Event::PriorityUpdate => {}
        }
    }

    fn request(
        &mut self,
        qconn: &mut QuicheConnection,
        peer: SocketAddr,
        id: u64,
        list: &[h3::Header],
        more_frames: bool,
    ) {
        self.unheard.heard(id);
        if self.refused_from.is_some_and(|refused| id >= refused) {
            self.count(RequestRejected::GoingAway);
            return shut(qconn, id, H3_REQUEST_REJECTED);
        }
        self.next_id = self.next_id.max(id + 4);
        let Some(head) = head::request(list) else {
            return self.malformed(qconn, id);
        };
        self.requests += 1;
        self.turn.asked = true;
        self.origin.set_peer(peer);
        let (mut stream, body) = Stream::new(id, self.ready.clone(), more_frames);
        let request = Box::new(head.map(|()| body));
        if qconn.is_established() {
            stream.serve(self.origin.clone(), request);
        } else {
            stream.hold(self.origin.clone(), request);
            stream.serve_early();
            self.holding = true;
        }
        self.streams.insert(id, stream);
    }

    /// The handshake is complete: nothing was a copy.
    fn release(&mut self, peer: SocketAddr) {
        self.holding = false;
        self.origin.set_peer(peer);
        for stream in self.streams.values_mut() {
            stream.release();
        }
    }

    /// RFC 9114 4.1.2.
    fn malformed(&mut self, qconn: &mut QuicheConnection, id: u64) {
        self.count(RequestRejected::Malformed);
        self.forget(id);
        shut(qconn, id, H3_MESSAGE_ERROR);
    }

    /// The client wants no more of it.
    fn cancel(&mut self, qconn: &mut QuicheConnection, id: u64) {
        if self.forget(id) {
            shut(qconn, id, H3_REQUEST_CANCELLED);
            self.leaving.push(id);
        }
    }

    /// The client's doing ends a request. Says whether it was under way.
    fn forget(&mut self, id: u64) -> bool {
        let under_way = self.streams.remove(&id).is_some();
        if under_way && !self.cancelled.another(Instant::now()) {
            self.overloaded = true;
        }
        under_way
    }

    fn check_load(&self) -> Result<(), ApplicationError> {
        match self.overloaded {
            true => Err(ApplicationError::Close(
                ConnectionShutdownBehaviour::application(
                    H3_EXCESSIVE_LOAD,
                    "too many requests were cancelled",
                ),
            )),
            false => Ok(()),
        }
    }

    fn count(&self, reason: RequestRejected) {
        self.origin.shard.metrics.request_rejected(reason);
    }

    /// Moves what tasks have ready, as far as there is room.
    fn write(
        &mut self,
        qconn: &mut QuicheConnection,
        peer: SocketAddr,
    ) -> Result<(), ApplicationError> {
        self.send_goaway(qconn)?;
        if self.unheard.oldest().is_some() {
            for (id, missing) in self
                .unheard
                .overdue(header_timeout(&self.origin), Instant::now())
            {
                match missing {
                    Missing::Head => {
                        self.count(RequestRejected::HeaderTimeout);
                        shut(qconn, id, H3_REQUEST_INCOMPLETE);
                    }
                    Missing::End => ask_no_more(qconn, id),
                }
            }
        }
        while let Some(id) = qconn.stream_writable_next() {
            if !self.streams.contains_key(&id) {
                continue;
            }
            match qconn.stream_capacity(id) {
                // The client sent STOP_SENDING.
                Err(quiche::Error::StreamStopped(_)) => self.cancel(qconn, id),
                _ => self.flush(qconn, id),
            }
        }
        self.check_load()?;
        let ends = self.refused_from.is_some() || self.client_goaway;
        if ends || self.undelivered.len() >= MOST_UNDELIVERED {
            self.forget_delivered(qconn);
        }
        let mut read = false;
        while let Some(id) = self.ready.next() {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.unmark();
                read |= stream.read(&mut self.h3, qconn);
            }
            self.flush(qconn, id);
        }
        // The end of a body shows only after its last byte was read.
        if read {
            self.poll(qconn, peer)?;
        }
        // RFC 9114 5.2: nothing is left to do on the connection.
        if self.client_goaway && self.streams.is_empty() && self.undelivered.is_empty() {
            let goodbye = ConnectionShutdownBehaviour::application(H3_NO_ERROR, "");
            return Err(ApplicationError::Close(goodbye));
        }
        Ok(())
    }

    fn flush(&mut self, qconn: &mut QuicheConnection, id: u64) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        self.turn.wrote |= stream.has_output();
        match stream.flush(&mut self.h3, qconn) {
            Ok(false) => {}
            Ok(true) => {
                let (uploaded, bare) = (stream.uploaded(), stream.shows_no_content());
                self.streams.remove(&id);
                self.cancelled.served();
                self.undelivered.push(id);
                if !uploaded && bare {
                    self.unheard.answered(id, Instant::now());
                } else if !uploaded {
                    ask_no_more(qconn, id);
                }
            }
            Err(code) => {
                self.streams.remove(&id);
                shut(qconn, id, code);
            }
        }
    }

    /// quiche forgets a stream once all of it is acknowledged.
    fn forget_delivered(&mut self, qconn: &mut QuicheConnection) {
        let mut undelivered = std::mem::take(&mut self.undelivered);
        undelivered.retain(|id| qconn.stream_capacity(*id).is_ok());
        self.undelivered = undelivered;
    }

    fn send_goaway(&mut self, qconn: &mut QuicheConnection) -> Result<(), ApplicationError> {
        let Some(id) = self.goaway else { return Ok(()) };
        self.turn.wrote = true;
        match self.h3.send_goaway(qconn, id) {
            Ok(()) => self.goaway = None,
            Err(h3::Error::StreamBlocked) => {}
            Err(error) => return Err(protocol(error)),
        }
        Ok(())
    }
}

/// How long a client may take over a header section.
fn header_timeout(origin: &Origin) -> Duration {
    origin.limits(|limits| limits.header_timeout)
}

pub(crate) fn settings() -> h3::Result<h3::Config> {
    let mut settings = h3::Config::new()?;
    settings.set_max_field_section_size(MAX_FIELD_SECTION);
    // The dynamic table would be state that a client can grow.
    settings.set_qpack_max_table_capacity(0);
    settings.set_qpack_blocked_streams(0);
    // RFC 9220.
    settings.enable_extended_connect(true);
    Ok(settings)
}

/// RFC 9114 4.1: the response is complete, the rest of the request is not wanted.
fn ask_no_more(qconn: &mut QuicheConnection, id: u64) {
    let _gone = qconn.stream_shutdown(id, quiche::Shutdown::Read, H3_NO_ERROR);
}

/// Ends both directions of a stream.
fn shut(qconn: &mut QuicheConnection, id: u64, code: u64) {
    let _gone = qconn.stream_shutdown(id, quiche::Shutdown::Read, code);
    let _gone = qconn.stream_shutdown(id, quiche::Shutdown::Write, code);
}

fn protocol(error: h3::Error) -> ApplicationError {
    ApplicationError::Protocol(error.to_string())
}

/// Beyond what a listener's own limit refuses with 431, the connection is closed.
const MAX_FIELD_SECTION: u64 = 128 * 1024;
/// From so many answered streams on it is looked which ones the client has.
const MOST_UNDELIVERED: usize = 128;
/// No client has a use for more of them.
const MOST_CUT_SHORT: u32 = 64;
/// The largest client-initiated bidirectional stream id.
const LARGEST_REQUEST_ID: u64 = (1 << 62) - 4;

/// RFC 9114 8.1.
const H3_NO_ERROR: u64 = 0x100;
const H3_INTERNAL_ERROR: u64 = 0x102;
const H3_EXCESSIVE_LOAD: u64 = 0x107;
const H3_REQUEST_REJECTED: u64 = 0x10b;
const H3_REQUEST_CANCELLED: u64 = 0x10c;
const H3_REQUEST_INCOMPLETE: u64 = 0x10d;
const H3_MESSAGE_ERROR: u64 = 0x10e;
const H3_CONNECT_ERROR: u64 = 0x10f;
