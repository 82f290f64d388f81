//! A QUIC client that a test can make lie: it takes its keys from rustls, and its transport
//! parameters, handshake messages, packets and frames from the test.
//!
//! It is honest in what nobody asked it to bend, as far as a handshake on loopback needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, Side,
    crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
    pki_types::ServerName,
    quic::{ClientConnection, DirectionalKeys, KeyChange, Keys, Version},
};
use tokio::{
    net::UdpSocket,
    time::{timeout, timeout_at},
};

use self::{frame::Frame, packet::Draft};
use super::Target;

mod attack;
mod frame;
mod http3;
mod moves;
mod packet;

pub use attack::{Replay, initial};
pub use frame::{Bytes, ConnectionClose};
pub use http3::{get, post, stream};
pub use packet::Level;

/// RFC 9000 14.1.
const SMALLEST_INITIAL: usize = 1200;
const LONGEST: usize = 2048;
const ID: usize = 8;
/// After so long without a datagram the last ones are sent again.
const SILENCE: Duration = Duration::from_secs(1);
/// CRYPTO data of the client in one packet.
const CRYPTO_PIECE: usize = 1000;

/// Transport parameters by their id (RFC 9000 18.2).
pub type Parameters = BTreeMap<u64, Vec<u8>>;

/// What a client does otherwise than it should.
pub struct Twist {
    pub parameters: fn(&mut Parameters),
    /// Bends the ClientHello message.
    pub client_hello: fn(&mut Vec<u8>),
    /// Handshake messages before and after Finished.
    pub before_finished: &'static [u8],
    pub after_finished: &'static [u8],
    /// Frames before those of each Handshake packet.
    pub handshake_frames: &'static [u8],
    /// Frames of a 0-RTT packet; the configuration must have a ticket.
    pub early_frames: &'static [u8],
    /// Packets of this level have a reserved bit that is not zero.
    pub reserved_bit: Option<Level>,
}

impl Default for Twist {
    fn default() -> Self {
        Self {
            parameters: |_| {},
            client_hello: |_| {},
            before_finished: &[],
            after_finished: &[],
            handshake_frames: &[],
            early_frames: &[],
            reserved_bit: None,
        }
    }
}

/// One connection.
pub struct RawClient {
    socket: UdpSocket,
    tls: ClientConnection,
    twist: Twist,
    destination: Vec<u8>,
    source: [u8; ID],
    spaces: [Space; 3],
    early: Option<DirectionalKeys>,
    confirmed: bool,
    closed: Option<ConnectionClose>,
    /// Datagrams that are sent again into silence.
    flight: Vec<Vec<u8>>,
    /// The first bytes that came on each stream.
    answers: BTreeMap<u64, Vec<u8>>,
    path_responses: usize,
}

/// Of one packet number space.
#[derive(Default)]
struct Space {
    keys: Option<Keys>,
    next: u64,
    largest: Option<u64>,
    received: BTreeSet<u64>,
    unacknowledged: bool,
    crypto_sent: u64,
    crypto_read: u64,
    crypto: BTreeMap<u64, Vec<u8>>,
}

impl RawClient {
    /// Begins a connection; its first datagram is sent.
    pub async fn begin(target: &Target, tls: Arc<ClientConfig>, twist: Twist) -> Self {
        Self::begin_from(Ipv4Addr::LOCALHOST.into(), target, tls, twist).await
    }

    /// The same from an address of the test's choice.
    pub async fn begin_from(
        from: IpAddr,
        target: &Target,
        tls: Arc<ClientConfig>,
        twist: Twist,
    ) -> Self {
        let socket = UdpSocket::bind((from, 0)).await.expect("loopback binds");
        (socket.connect(target.address).await).expect("loopback connects");
        let (destination, source): (Vec<u8>, [u8; ID]) =
            (rand::random::<[u8; ID]>().into(), rand::random());
        let mut parameters = honest_parameters(&source);
        (twist.parameters)(&mut parameters);
        let name = ServerName::try_from(target.server_name.clone()).expect("it is a name");
        let mut tls = ClientConnection::new(tls, Version::V1, name, encoded(&parameters))
            .expect("the configuration has TLS 1.3");
        let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("it is of TLS 1.3");
        let suite = suite.quic_suite().expect("it is for QUIC");
        let keys = suite.keys(&destination, Side::Client, Version::V1);
        let mut hello = Vec::new();
        assert!(tls.write_hs(&mut hello).is_none(), "no keys come so early");
        (twist.client_hello)(&mut hello);
        let early = tls.zero_rtt_keys();
        let mut client = Self {
            socket,
            tls,
            twist,
            destination,
            source,
            spaces: Default::default(),
            early,
            confirmed: false,
            closed: None,
            flight: Vec::new(),
            answers: BTreeMap::new(),
            path_responses: 0,
        };
        client.spaces[0].keys = Some(keys);
        client.crypto(Level::Initial, &hello).await;
        if !client.twist.early_frames.is_empty() {
            let frames = client.twist.early_frames.to_vec();
            client.send(Level::ZeroRtt, frames).await;
        }
        client
    }

    /// Goes on until the handshake is confirmed, the server closes, or patience ends.
    pub async fn handshake(&mut self, patience: Duration) -> bool {
        self.run_until(patience, |client| client.confirmed).await;
        self.confirmed
    }

    /// Goes on until the server closes the connection, or patience ends.
    pub async fn closed(&mut self, patience: Duration) -> Option<ConnectionClose> {
        self.run_until(patience, |_| false).await;
        self.closed.clone()
    }

    /// Goes on for so long.
    pub async fn stay(&mut self, time: Duration) {
        self.run_until(time, |_| false).await;
    }

    /// Goes on until another packet under 1-RTT keys came, or patience ends.
    pub async fn hear(&mut self, patience: Duration) {
        let before = self.spaces[2].received.len();
        let heard = |client: &Self| client.spaces[2].received.len() > before;
        self.run_until(patience, heard).await;
    }

    /// Sends one packet with these frames in a datagram of its own.
    pub async fn send(&mut self, level: Level, mut frames: Vec<u8>) {
        if level == Level::Initial {
            frames.resize(frames.len().max(SMALLEST_INITIAL), 0);
        }
        let reserved = if self.twist.reserved_bit == Some(level) {
            0x08
        } else {
            0
        };
        let space = &mut self.spaces[space_of(level)];
        let keys = match level {
            Level::ZeroRtt => self.early.as_ref(),
            _ => space.keys.as_ref().map(|keys| &keys.local),
        };
        let draft = Draft {
            level,
            destination: &self.destination,
            source: &self.source,
            token: &[],
            number: space.next,
            reserved,
            frames,
        };
        space.next += 1;
        let datagram = draft.protect(keys.expect("the level has keys"));
        let _ = self.socket.send(&datagram).await;
        self.flight.push(datagram);
    }

    /// Sends handshake messages.
    async fn crypto(&mut self, level: Level, messages: &[u8]) {
        for piece in messages.chunks(CRYPTO_PIECE) {
            let space = &mut self.spaces[space_of(level)];
            let offset = space.crypto_sent;
            space.crypto_sent += piece.len() as u64;
            let frames = match level {
                Level::Handshake => self.twist.handshake_frames,
                _ => &[],
            };
            let head = [0x06, offset, piece.len() as u64];
            let frames = Bytes::new().bytes(frames).numbers(&head).bytes(piece);
            self.send(level, frames.done()).await;
        }
    }

    async fn run_until(&mut self, patience: Duration, enough: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + patience;
        let mut datagram = vec![0; LONGEST];
        while self.closed.is_none() && !enough(self) {
            let receive = timeout(SILENCE, self.socket.recv(&mut datagram));
            match timeout_at(deadline.into(), receive).await {
                Err(_) => return,
                Ok(Err(_)) => {
                    for datagram in &self.flight {
                        let _ = self.socket.send(datagram).await;
                    }
                }
                Ok(Ok(Ok(length))) => {
                    self.flight.clear();
                    self.receive(&mut datagram[..length]).await;
                }
                // A refused port; the server may come yet.
                Ok(Ok(Err(_))) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn receive(&mut self, datagram: &mut [u8]) {
        let mut at = 0;
        while let Some(found) = packet::find(datagram, at, ID) {
            let space = &mut self.spaces[space_of(found.level)];
            let opened = (space.keys.as_ref()).and_then(|keys| {
                found.open(datagram, at, &keys.remote, space.largest.unwrap_or(0))
            });
            at = found.end();
            let Some((number, frames)) = opened else {
                continue;
            };
            if !found.source.is_empty() {
                self.destination = found.source;
            }
            space.largest = space.largest.max(Some(number));
            if !space.received.insert(number) {
                continue;
            }
            for frame in frame::parse(&frames) {
                self.frame(found.level, frame).await;
            }
        }
        for level in [Level::Initial, Level::Handshake, Level::OneRtt] {
            self.acknowledge(level).await;
        }
    }

    async fn frame(&mut self, level: Level, frame: Frame) {
        let space = &mut self.spaces[space_of(level)];
        space.unacknowledged |= frame.elicits();
        match frame {
            Frame::Crypto { offset, data } => {
                space.crypto.insert(offset, data);
                let messages = space.readable();
                if !messages.is_empty() {
                    let read = self.tls.read_hs(&messages);
                    read.expect("the server's messages are sound");
                    self.answer().await;
                }
            }
            Frame::Close(close) => self.closed = Some(close),
            Frame::HandshakeDone => self.confirmed = true,
            Frame::Stream { id, offset, data } => {
                if offset == 0 {
                    self.answers.insert(id, data);
                }
            }
            Frame::PathChallenge(data) => self.respond_to_challenge(data).await,
            Frame::PathResponse => self.path_responses += 1,
            Frame::Acknowledgement | Frame::Other => {}
        }
    }

    /// Sends what TLS has to say, and takes the keys that it gives.
    async fn answer(&mut self) {
        let mut level = if self.spaces[1].keys.is_some() {
            Level::Handshake
        } else {
            Level::Initial
        };
        loop {
            let mut messages = Vec::new();
            let change = self.tls.write_hs(&mut messages);
            let nothing = messages.is_empty() && change.is_none();
            if level == Level::Handshake && !messages.is_empty() {
                messages.splice(0..0, self.twist.before_finished.iter().copied());
                messages.extend(self.twist.after_finished);
            }
            if !messages.is_empty() {
                self.crypto(level, &messages).await;
            }
            match change {
                Some(KeyChange::Handshake { keys }) => {
                    self.spaces[1].keys = Some(keys);
                    level = Level::Handshake;
                }
                Some(KeyChange::OneRtt { keys, .. }) => self.spaces[2].keys = Some(keys),
                None => {}
            }
            if nothing {
                return;
            }
        }
    }

    async fn acknowledge(&mut self, level: Level) {
        let space = &mut self.spaces[space_of(level)];
        if space.keys.is_some() && std::mem::take(&mut space.unacknowledged) {
            let frames = space.acknowledgement();
            self.send(level, frames).await;
            // An ACK is not repeated.
            self.flight.pop();
        }
    }
}

impl Space {
    /// CRYPTO data that is next in order.
    fn readable(&mut self) -> Vec<u8> {
        let mut messages = Vec::new();
        while let Some((&offset, data)) = self.crypto.first_key_value()
            && offset <= self.crypto_read
        {
            let known = (self.crypto_read - offset) as usize;
            let fresh = data.get(known..).unwrap_or_default();
            messages.extend(fresh);
            self.crypto_read += fresh.len() as u64;
            self.crypto.pop_first();
        }
        messages
    }

    /// An ACK frame for all that was received.
    fn acknowledgement(&self) -> Vec<u8> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for &number in self.received.iter().rev() {
            match ranges.last_mut() {
                Some((first, _)) if *first == number + 1 => *first = number,
                _ => ranges.push((number, number)),
            }
        }
        let (first, last) = ranges[0];
        let mut frame = vec![0x02, last, 0, ranges.len() as u64 - 1, last - first];
        for pair in ranges.windows(2) {
            let ((above, _), (first, last)) = (pair[0], pair[1]);
            frame.extend([above - last - 2, last - first]);
        }
        Bytes::new().numbers(&frame).done()
    }
}

fn space_of(level: Level) -> usize {
    match level {
        Level::Initial => 0,
        Level::Handshake => 1,
        Level::ZeroRtt | Level::OneRtt => 2,
    }
}

fn honest_parameters(source: &[u8]) -> Parameters {
    let number = |value| Bytes::new().numbers(&[value]).done();
    // Idle time-out, data, streams of each kind, their number, the own connection ID.
    let mut parameters: Parameters = [(1, 30_000), (4, 1 << 20), (8, 100), (9, 100)]
        .into_iter()
        .chain([5, 6, 7].map(|id| (id, 1 << 18)))
        .map(|(id, value)| (id, number(value)))
        .collect();
    parameters.insert(0x0f, source.to_vec());
    parameters
}

fn encoded(parameters: &Parameters) -> Vec<u8> {
    let one = |all: Bytes, (&id, value): (&u64, &Vec<u8>)| {
        all.numbers(&[id, value.len() as u64]).bytes(value)
    };
    parameters.iter().fold(Bytes::new(), one).done()
}
