//! A genuine client, on quiche.

use std::{cell::RefCell, net::SocketAddr};

use quiche::{ConnectionId, Shutdown};

use crate::quic;

pub(super) struct Client {
    pub(super) address: SocketAddr,
    /// What its first packets call the gateway.
    pub(super) dcid: Vec<u8>,
    qconn: quiche::Connection,
    heard: bool,
}

impl Client {
    /// Each has a network of its own.
    pub(super) fn new(number: u8, gateway: SocketAddr) -> Self {
        thread_local! {
            static CONFIG: RefCell<quiche::Config> =
                RefCell::new(quic::client_config(super::gateway::ALPN));
        }
        let address = ([203, 0, number, 1], 50_000).into();
        let qconn = CONFIG.with_borrow_mut(|config| {
            let scid = ConnectionId::from_vec(vec![number; 16]);
            quiche::connect(Some("a.example"), &scid, address, gateway, config)
        });
        let qconn = qconn.expect("a client");
        Self {
            address,
            dcid: qconn.destination_id().to_vec(),
            qconn,
            heard: false,
        }
    }

    /// The datagrams that it has to send.
    pub(super) fn send(&mut self) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        let mut room = [0; 1500];
        while let Ok((len, _)) = self.qconn.send(&mut room) {
            datagrams.push(room[..len].to_vec());
        }
        datagrams
    }

    pub(super) fn hear(&mut self, from: SocketAddr, datagram: &mut [u8]) {
        self.heard = true;
        let to = self.address;
        let _refused = self.qconn.recv(datagram, quiche::RecvInfo { from, to });
    }

    /// Whether what it sends shows that it is where it says.
    pub(super) fn has_answered(&self) -> bool {
        self.heard
    }

    /// Whether its handshake is complete, and known to be.
    pub(super) fn is_served(&self) -> bool {
        self.qconn.is_established()
    }

    /// Does something that honest clients do.
    pub(super) fn act(&mut self, what: u8, content: &[u8]) {
        // Those that a client opens, and two that it does not.
        let stream = [0, 2, 4, 6, 8, 10, 1, 3][usize::from(what >> 3 & 7)];
        let _maybe = match what & 7 {
            0 => self.qconn.close(what & 8 == 0, stream, content),
            1 => self.qconn.dgram_send(content),
            2 => {
                let way = match what & 0x80 {
                    0 => Shutdown::Read,
                    _ => Shutdown::Write,
                };
                self.qconn.stream_shutdown(stream, way, 1)
            }
            _ => {
                let end = what & 0x80 != 0;
                self.qconn.stream_send(stream, content, end).map(drop)
            }
        };
    }
}
