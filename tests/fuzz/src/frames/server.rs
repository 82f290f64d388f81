//! The gateway's side of the connection, and an application that sends back what it gets.

use std::{cell::RefCell, collections::BTreeMap, net::SocketAddr};

use quiche::{Config, Connection, ConnectionId, fuzzing};

use crate::{http3::Pair, listener::ledger::Ledger, quic};

pub(super) struct Server {
    qconn: Connection,
    ledger: Ledger,
    /// Echoes that wait for room, and whether the end follows.
    owed: BTreeMap<u64, (Vec<u8>, bool)>,
    /// Packets of content that was not asked for, and that was.
    own: usize,
    content: usize,
    /// Connection IDs that were given out.
    issued: u8,
    received: usize,
    sent: usize,
}

/// A pair whose handshake is complete. `mode`: congestion control, and whether TLS is still there.
pub(super) fn established(mode: u8) -> Pair {
    thread_local! {
        static CONFIGS: RefCell<[Config; 3]> = RefCell::new(configs());
    }
    let mut pair = CONFIGS.with_borrow_mut(|[client, cubic, bbr2]| {
        Pair::between(client, if mode & 1 == 0 { cubic } else { bbr2 })
    });
    if mode & 2 != 0 {
        pair.server.release_tls();
    }
    pair
}

fn configs() -> [Config; 3] {
    use quiche::CongestionControlAlgorithm::{Bbr2Gcongestion, CUBIC};
    let server = |algorithm| {
        let mut config = quic::server_config(b"fuzz");
        config.set_cc_algorithm(algorithm);
        config
    };
    let mut configs = [
        quic::client_config(b"fuzz"),
        server(CUBIC),
        server(Bbr2Gcongestion),
    ];
    for config in &mut configs {
        config.set_active_connection_id_limit(CONNECTION_IDS);
    }
    configs
}

impl Server {
    pub(super) fn new(qconn: Connection) -> Self {
        let mut ledger = Ledger::default();
        ledger.proven(address(0));
        Self {
            qconn,
            ledger,
            owed: BTreeMap::new(),
            own: 0,
            content: 0,
            issued: 0,
            received: 0,
            sent: 0,
        }
    }

    /// One of those that the client may use.
    pub(super) fn connection_id(&self, which: u8) -> Option<ConnectionId<'static>> {
        let ids: Vec<_> = self.qconn.source_ids().collect();
        let id = ids.get(usize::from(which) % ids.len().max(1))?;
        Some(ConnectionId::from_vec(id.to_vec()))
    }

    pub(super) fn unopened_stream(&self) -> Option<u64> {
        fuzzing::unopened_stream(&self.qconn)
    }

    pub(super) fn receive(&mut self, who: u8, packet: &mut [u8]) {
        let (from, to) = (address(who), gateway());
        self.received += 1;
        self.ledger.received(from, packet.len());
        let refused = self.qconn.recv(packet, quiche::RecvInfo { from, to });
        if let Err(error) = refused {
            assert!(self.is_closed(), "a client is told why: {error:?}");
        }
        let kept = fuzzing::kept(&self.qconn);
        assert!(
            kept.streams <= STREAMS
                && kept.paths <= CONNECTION_IDS as usize
                && kept.ack_ranges <= ACK_RANGES
                && kept.dcids <= 4 * CONNECTION_IDS as usize,
            "{kept:?}"
        );
    }

    /// Whoever is there has shown it.
    pub(super) fn prove(&mut self, who: u8) {
        self.ledger.proven(address(who));
    }

    /// What a connection does that has nothing to do.
    pub(super) fn rest(&mut self) {
        self.qconn.shrink_to_fit();
        self.qconn.release_tls();
    }

    /// Sends something on a stream that the gateway opens.
    pub(super) fn say(&mut self, len: usize) {
        let _no_room = self.qconn.stream_send(3, &vec![7; len], false);
        self.own += 1 + len / 1000;
    }

    /// Whether it is, with a code of either side.
    pub(super) fn is_closed(&self) -> bool {
        self.qconn.local_error().is_some() || self.qconn.peer_error().is_some()
    }

    pub(super) fn stats(&self) -> quiche::Stats {
        self.qconn.stats()
    }

    /// Does what it has to do, and gives what it sends, and to whom.
    pub(super) fn turn(&mut self) -> Vec<(u8, Vec<u8>)> {
        self.supply_ids();
        self.serve();
        while self.qconn.path_event_next().is_some() {}
        let mut packets = Vec::new();
        let mut room = [0; 1500];
        loop {
            match self.qconn.send(&mut room) {
                Ok((len, info)) => {
                    self.ledger.sent(info.to, len);
                    packets.push((who(info.to), room[..len].to_vec()));
                }
                Err(quiche::Error::Done) => break,
                Err(error) => panic!("{error:?}: nothing can be sent any more"),
            }
        }
        self.sent += packets.len();
        let most = PACKETS * self.received + self.own + self.content / 1000 + PACKETS_AT_FIRST;
        assert!(self.sent <= most, "{} packets, not {most}", self.sent);
        packets
    }

    fn supply_ids(&mut self) {
        while self.qconn.retired_scid_next().is_some() {}
        while self.qconn.scids_left() > 0 {
            self.issued = self.issued.wrapping_add(1);
            let id = [&[9; 15][..], &[self.issued]].concat();
            let given = self.qconn.new_scid(&id.into(), self.issued.into(), false);
            if given.is_err() {
                break;
            }
        }
    }

    fn serve(&mut self) {
        let mut room = [0; 4096];
        while self.qconn.dgram_recv(&mut room).is_ok() {}
        for id in self.qconn.readable() {
            while let Ok((read, fin)) = self.qconn.stream_recv(id, &mut room) {
                let (bytes, end) = self.owed.entry(id).or_default();
                bytes.extend_from_slice(&room[..read]);
                *end |= fin;
                self.content += read;
            }
        }
        let qconn = &mut self.qconn;
        self.owed.retain(|&id, (bytes, end)| {
            if id & 2 != 0 {
                return false;
            }
            match qconn.stream_send(id, bytes, *end) {
                Ok(sent) => {
                    bytes.drain(..sent);
                    !bytes.is_empty()
                }
                Err(quiche::Error::Done) => true,
                Err(_) => false,
            }
        });
    }
}

/// As many as [`quic::server_config`] says, those of both sides.
const STREAMS: usize = 100 + 8 + 8;
const CONNECTION_IDS: u64 = 4;
/// Of packets that came.
const ACK_RANGES: usize = 68;
/// For each that came; more than an answer for each address.
const PACKETS: usize = 8;
const PACKETS_AT_FIRST: usize = 64;

fn gateway() -> SocketAddr {
    ([127, 0, 0, 1], 443).into()
}

/// The client's, and those of strangers.
fn address(who: u8) -> SocketAddr {
    match who {
        0 => ([127, 0, 0, 1], 50_000).into(),
        _ => ([198, 51, 100, who], 50_000).into(),
    }
}

fn who(address: SocketAddr) -> u8 {
    match address.ip() {
        std::net::IpAddr::V4(ip) if !ip.is_loopback() => ip.octets()[3],
        _ => 0,
    }
}
