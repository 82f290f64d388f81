//! What is sent without regard to what comes back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rand::RngExt;
use rustls::{
    ClientConfig, Side,
    crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
    pki_types::ServerName,
    quic::{ClientConnection, Keys, Version},
};
use tokio::{net::UdpSocket, time::timeout_at};

use super::{
    CRYPTO_PIECE, ConnectionClose, ID, LONGEST, Level, RawClient, SMALLEST_INITIAL, encoded,
    frame::{self, Bytes, Frame},
    honest_parameters,
    packet::{self, Draft},
    space_of,
};
use crate::Target;

impl RawClient {
    /// Sends a packet that is never repeated.
    pub async fn fire(&mut self, level: Level, frames: Vec<u8>) {
        let datagram = self.sealed(level, frames);
        let _full = self.socket.send(&datagram).await;
    }

    /// The same after the packet was bent on its way.
    pub async fn fire_bent(
        &mut self,
        level: Level,
        frames: Vec<u8>,
        bend: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut datagram = self.sealed(level, frames);
        bend(&mut datagram);
        let _full = self.socket.send(&datagram).await;
    }

    /// The same from another address, where nothing is received.
    pub async fn fire_from(&mut self, socket: &UdpSocket, level: Level, frames: Vec<u8>) {
        let server = self.socket.peer_addr().expect("it is connected");
        let datagram = self.sealed(level, frames);
        let _full = socket.send_to(&datagram, server).await;
    }

    /// How the server closed the connection, if it does so in time. Nothing is acknowledged.
    pub async fn closed_silently(&mut self, patience: Duration) -> Option<ConnectionClose> {
        let mut datagram = vec![0; LONGEST];
        let deadline = Instant::now() + patience;
        while self.closed.is_none() {
            let receive = timeout_at(deadline.into(), self.socket.recv(&mut datagram));
            let Ok(Ok(length)) = receive.await else {
                break;
            };
            self.look_at(&mut datagram[..length]);
        }
        self.closed.clone()
    }

    fn look_at(&mut self, datagram: &mut [u8]) {
        let mut at = 0;
        while let Some(found) = packet::find(datagram, at, ID) {
            let space = &self.spaces[space_of(found.level)];
            let largest = space.largest.unwrap_or(0);
            let opened = space
                .keys
                .as_ref()
                .and_then(|keys| found.open(datagram, at, &keys.remote, largest));
            at = found.end();
            let (_, frames) = opened.unwrap_or_default();
            for frame in frame::parse(&frames) {
                match frame {
                    Frame::Close(close) => self.closed = Some(close),
                    Frame::PathResponse => self.path_responses += 1,
                    _ => {}
                }
            }
        }
    }

    fn sealed(&mut self, level: Level, mut frames: Vec<u8>) -> Vec<u8> {
        if level == Level::Initial {
            frames.resize(frames.len().max(SMALLEST_INITIAL), 0);
        }
        let space = &mut self.spaces[space_of(level)];
        let keys = space.keys.as_ref().expect("the level has keys");
        let draft = Draft {
            level,
            destination: &self.destination,
            source: &self.source,
            token: &[],
            number: space.next,
            reserved: 0,
            frames,
        };
        space.next += 1;
        draft.protect(&keys.local)
    }

    /// The number of the packet that is sent next.
    pub fn next_number(&self, level: Level) -> u64 {
        self.spaces[space_of(level)].next
    }

    /// How many PATH_RESPONSE frames have come.
    pub fn path_responses(&self) -> usize {
        self.path_responses
    }

    /// What the server calls itself.
    pub fn server_id(&self) -> &[u8] {
        &self.destination
    }
}

/// A first packet with any frames, for any connection ID.
pub fn initial(destination: &[u8], source: &[u8], number: u64, frames: Vec<u8>) -> Vec<u8> {
    initial_with_token(destination, source, &[], number, frames)
}

fn initial_with_token(
    destination: &[u8],
    source: &[u8],
    token: &[u8],
    number: u64,
    mut frames: Vec<u8>,
) -> Vec<u8> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("it is of TLS 1.3");
    let algorithm = suite.quic.expect("it is for QUIC");
    let keys = Keys::initial(Version::V1, suite, algorithm, destination, Side::Client);
    let room = SMALLEST_INITIAL.saturating_sub(token.len());
    frames.resize(frames.len().max(room), 0);
    let draft = Draft {
        level: Level::Initial,
        destination,
        source,
        token,
        number,
        reserved: 0,
        frames,
    };
    draft.protect(&keys.local)
}

/// A client's first flight that is made once, and sealed again for each connection ID: what a
/// flood costs its sender.
pub struct Replay {
    hello: Vec<u8>,
    source: [u8; ID],
}

impl Replay {
    pub fn new(target: &Target) -> Self {
        let tls: Arc<ClientConfig> = target.tls.clone().expect("it has TLS");
        let source: [u8; ID] = rand::random();
        let name = ServerName::try_from(target.server_name.clone()).expect("it is a name");
        let parameters = encoded(&honest_parameters(&source));
        let mut tls = ClientConnection::new(tls, Version::V1, name, parameters)
            .expect("the configuration has TLS 1.3");
        let mut hello = Vec::new();
        assert!(tls.write_hs(&mut hello).is_none(), "no keys come so early");
        Self { hello, source }
    }

    /// The ClientHello message.
    pub fn hello(&self) -> &[u8] {
        &self.hello
    }

    /// For a connection ID of the generator's choice.
    pub fn flight(&self) -> Vec<Vec<u8>> {
        let mut destination = [0; ID];
        rand::rng().fill(&mut destination);
        self.flight_to(&destination)
    }

    pub fn flight_to(&self, destination: &[u8]) -> Vec<Vec<u8>> {
        self.flight_with_token(destination, &[])
    }

    /// The same as after a Retry with this token.
    pub fn flight_with_token(&self, destination: &[u8], token: &[u8]) -> Vec<Vec<u8>> {
        let pieces = self.hello.chunks(CRYPTO_PIECE).enumerate();
        let packet = |(number, piece): (usize, &[u8])| {
            let head = [0x06, (number * CRYPTO_PIECE) as u64, piece.len() as u64];
            let frames = Bytes::new().numbers(&head).bytes(piece).done();
            initial_with_token(destination, &self.source, token, number as u64, frames)
        };
        pieces.map(packet).collect()
    }
}
