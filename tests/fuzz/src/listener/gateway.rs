//! A listener with its tables, and no network: what it sends is taken from it.

use std::{
    collections::HashMap,
    mem,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use tidegate_dataplane::{
    fuzzing,
    quic::{
        Incoming,
        cid::{CidCodec, server_id},
        demux::Place,
        endpoint::{Endpoint, EndpointKeys, Tables},
        incoming::BufferPool,
        listener::{Listener, Settings},
        udp::UdpSocket,
    },
    snapshot::{CidKey, RetryMode, SecretKey},
};
use tokio::task::yield_now;

use super::{echo::Echo, ledger::Ledger, shard::Shard};
use crate::quic;

pub(super) const ALPN: &[u8] = b"echo";

pub(super) struct Gateway {
    pub(super) local: SocketAddr,
    pub(super) ledger: Ledger,
    listener: Listener,
    endpoint: Rc<Endpoint>,
    shard: Rc<Shard>,
    pool: Rc<BufferPool>,
    /// On its way to each address.
    sent: HashMap<SocketAddr, Vec<Vec<u8>>>,
    received: usize,
}

impl Gateway {
    pub(super) fn new(retry: RetryMode) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let local = fuzzing::bound(&socket);
        let shard = Rc::<Shard>::default();
        let secret = SecretKey {
            id: 1,
            secret: [1; 32],
        };
        let keys = EndpointKeys {
            cids: CidCodec::new(&[CidKey {
                id: 1,
                aes: [1; 16],
            }]),
            retry: vec![secret.clone()],
            reset: vec![secret],
        };
        let place = Place {
            server: server_id("this"),
            shard: 1,
            shards: 3,
        };
        let (host, tables) = (shard.clone(), Tables::default());
        let endpoint = Endpoint::new(host, vec![socket], tables, place, Rc::new(keys));
        let endpoint = Rc::new(endpoint);
        let settings = Settings {
            config: quic::server_config(ALPN),
            retry,
            handshake_timeout: Duration::from_secs(10),
        };
        let listener = Listener::new(endpoint.clone(), settings, |connection| {
            connection.start(Echo);
        });
        Self {
            local,
            ledger: Ledger::default(),
            listener,
            endpoint,
            shard,
            pool: Rc::default(),
            sent: HashMap::new(),
            received: 0,
        }
    }

    /// One datagram, or as many of `size` as the kernel has merged.
    pub(super) fn receive(&mut self, from: SocketAddr, payload: &[u8], size: Option<u16>) {
        // The socket drops those that are empty, and segments are never of no size.
        if payload.is_empty() || size == Some(0) {
            return;
        }
        self.ledger.received(from, payload.len());
        self.received += 1 + payload.len() / size.map_or(usize::MAX, usize::from);
        self.listener.dispatch(Incoming {
            peer_addr: from,
            local_addr: self.local,
            rx_time: None,
            buf: self.pool.copy(payload),
            gro: size,
            via: None,
        });
        self.collect();
        self.check_bounds();
    }

    /// Workers have their turns, until they have nothing more to say.
    pub(super) async fn turn(&mut self) {
        let mut silent = 0;
        for _ in 0..64 {
            yield_now().await;
            silent = match self.collect() {
                true => 0,
                false => silent + 1,
            };
            if silent == 3 {
                break;
            }
        }
        self.check_bounds();
    }

    /// Takes what is on its way to an address.
    pub(super) fn sent_to(&mut self, to: SocketAddr) -> Vec<Vec<u8>> {
        self.sent.get_mut(&to).map(mem::take).unwrap_or_default()
    }

    /// Says whether there was something.
    fn collect(&mut self) -> bool {
        let mut any = false;
        fuzzing::take_sent(&self.endpoint, |from, to, datagram| {
            any = true;
            assert_eq!(from, self.local);
            self.ledger.sent(to, datagram.len());
            let waiting = self.sent.entry(to).or_default();
            if waiting.len() < MOST_WAITING {
                waiting.push(datagram.to_vec());
            }
        });
        any
    }

    fn check_bounds(&self) {
        let (handshakes, prefixes, waiting) = fuzzing::half_open(&self.endpoint);
        let connections = self.shard.connections.borrow().len();
        assert!(
            prefixes <= handshakes && waiting <= handshakes && handshakes <= connections,
            "{handshakes} handshakes of {prefixes} prefixes, {waiting} wait"
        );
        assert!(connections <= self.received, "{connections} connections");
        assert_eq!(self.shard.misplaced.get(), 0, "sent to another shard");
    }
}

const MOST_WAITING: usize = 256;
