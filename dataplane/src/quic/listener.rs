//! Takes each datagram of a binding's sockets to where it belongs.
//!
//! [`demux`] decides; what is here acts: delivers, hands over, answers without state,
//! begins connections, or drops and counts. Under load it does less for strangers first:
//! answers are limited in rate, and half-open handshakes in number.

mod accept;
mod reply;

use std::{
    cell::RefCell,
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use self::reply::Replies;
use super::{
    InitialConnection,
    demux::{self, Verdict},
    endpoint::{Endpoint, Tables},
    incoming::Incoming,
    metrics::DatagramDrop,
    relay::frame::Way,
    udp::UdpSocket,
};
use crate::{snapshot::RetryMode, task::Task};

/// What new connections get. Replaced whole when the configuration changes; connections
/// that live keep what they began with.
pub struct Settings {
    /// TLS and transport parameters.
    pub config: quiche::Config,
    /// When to validate addresses before a handshake.
    pub retry: RetryMode,
    /// How long a handshake may take until it is known which listener it is for.
    pub handshake_timeout: Duration,
}

/// One binding's listener on one shard.
pub struct Listener {
    endpoint: Rc<Endpoint>,
    /// `None`: it takes no new connections.
    settings: RefCell<Option<Settings>>,
    replies: RefCell<Replies>,
    accept: Box<dyn Fn(InitialConnection)>,
}

/// The tasks that serve a listener's sockets. Dropping it ends them.
pub struct Service {
    _tasks: Vec<Task<()>>,
}

impl Listener {
    /// `accept` is given each new connection and must not block.
    pub fn new(
        endpoint: Rc<Endpoint>,
        settings: Settings,
        accept: impl Fn(InitialConnection) + 'static,
    ) -> Self {
        Self {
            endpoint,
            settings: RefCell::new(Some(settings)),
            replies: RefCell::new(Replies::new(Instant::now())),
            accept: Box::new(accept),
        }
    }

    /// Changes what new connections get.
    pub fn set_settings(&self, settings: Settings) {
        *self.settings.borrow_mut() = Some(settings);
    }

    /// Takes no new connections any more. Those that live go on.
    pub fn stop(&self) {
        *self.settings.borrow_mut() = None;
    }

    /// Changes the keys of connection IDs and tokens, for all connections.
    pub fn set_keys(&self, keys: Rc<super::endpoint::EndpointKeys>) {
        *self.endpoint.keys.borrow_mut() = keys;
    }

    /// Whether packets from this address of ours leave through one of its sockets.
    pub fn serves(&self, local: SocketAddr) -> bool {
        self.endpoint.socket(local).is_some()
    }

    /// Serves the sockets for as long as what it returns is held.
    pub fn spawn(self: &Rc<Self>) -> Service {
        let mut tasks = Vec::new();
        for socket in &self.endpoint.sockets {
            let (listener, received) = (self.clone(), socket.clone());
            tasks.push(Task::spawn(async move {
                if let Err(error) = listener.receive(&received).await {
                    tracing::error!(%error, "a UDP socket is broken");
                }
            }));
            let (listener, flushed) = (self.clone(), socket.clone());
            tasks.push(Task::spawn(async move {
                flushed.flush(listener.endpoint.host.metrics()).await;
            }));
        }
        Service { _tasks: tasks }
    }

    /// Receives from a socket for ever.
    async fn receive(&self, socket: &UdpSocket) -> io::Result<()> {
        let Endpoint { host, tables, .. } = &*self.endpoint;
        let mut batch = UdpSocket::receive_batch();
        loop {
            socket
                .receive(&mut batch, &tables.pool, host.metrics(), |incoming| {
                    self.dispatch(incoming)
                })
                .await?;
        }
    }

    /// Takes one batch where it belongs. Several datagrams that the kernel merged mostly
    /// are one connection's; where they are not, each goes its own way.
    pub fn dispatch(&self, incoming: Incoming) {
        if is_mixed(&incoming) {
            let Incoming {
                peer_addr,
                local_addr,
                rx_time,
                via,
                ..
            } = incoming;
            for segment in incoming.segments() {
                let buf = self.endpoint.tables.pool.copy(segment);
                self.perform(Incoming {
                    peer_addr,
                    local_addr,
                    rx_time,
                    buf,
                    gro: None,
                    via,
                });
            }
        } else {
            self.perform(incoming);
        }
    }

    fn perform(&self, incoming: Incoming) {
        let Endpoint {
            host,
            tables:
                Tables {
                    map,
                    half_open,
                    relay,
                    ..
                },
            place,
            keys,
            ..
        } = &*self.endpoint;
        let size = incoming
            .gro
            .map_or(incoming.buf.len(), usize::from)
            .min(incoming.buf.len());
        let keys = keys.borrow().clone();
        let verdict = demux::classify(&incoming.buf[..size], *place, &keys.cids, &relay.peers());
        let ours = matches!(verdict, Verdict::Connection(_) | Verdict::Sideways(_));
        if incoming.via.is_some() && !ours {
            // It has gone its one leg: another would be a loop.
            return self.drop_all(&incoming, DatagramDrop::RelayMisdirected);
        }
        match verdict {
            Verdict::Connection(handle) => {
                let connection = map.borrow().at(handle).cloned();
                match connection {
                    Some(connection) => connection.deliver(incoming),
                    None => self.stale(&incoming),
                }
            }
            Verdict::Sideways(shard) => {
                let count = incoming.count();
                if host.hand_over(shard, incoming) {
                    host.metrics().datagram_handed_over();
                } else {
                    self.drop_many(count, DatagramDrop::SidewaysFull);
                }
            }
            Verdict::Elsewhere(server) => self.forward(incoming, server),
            Verdict::Gone => self.stale(&incoming),
            Verdict::Handshake { dcid, initial } => {
                let known = half_open.borrow().of_initial(dcid);
                let known = known.and_then(|handle| map.borrow().at(handle).cloned());
                match (known, initial) {
                    (Some(connection), _) => connection.deliver(incoming),
                    (None, Some(initial)) => {
                        let dcid = dcid.to_vec();
                        let (scid, token) = (initial.scid.to_vec(), initial.token.to_vec());
                        self.begin(incoming, dcid, &scid, &token, &keys, SystemTime::now());
                    }
                    (None, None) => self.drop_all(&incoming, DatagramDrop::UnknownConnection),
                }
            }
            Verdict::UnknownVersion { dcid, scid } => self.negotiate_version(&incoming, dcid, scid),
            Verdict::Drop(reason) => self.drop_all(&incoming, reason),
        }
    }

    /// Sends a client's datagrams to the data plane that has its connection.
    fn forward(&self, incoming: Incoming, server: u32) {
        let Endpoint { host, tables, .. } = &*self.endpoint;
        let Some(owner) = tables.relay.peers().address(server) else {
            return self.drop_all(&incoming, DatagramDrop::RelayOff);
        };
        let (client, local) = (incoming.peer_addr, incoming.local_addr);
        for datagram in incoming.segments() {
            let metrics = host.metrics();
            tables
                .relay
                .send(owner, Way::ToOwner, client, local, datagram, metrics);
        }
    }

    /// Sends a datagram of another data plane's connection to its client. Says whether
    /// there is a socket for it.
    pub fn send_for(&self, local: SocketAddr, client: SocketAddr, datagram: &[u8]) -> bool {
        let Some(socket) = self.endpoint.socket(local) else {
            return false;
        };
        socket.transmit(|egress| match egress.room_for(datagram.len()) {
            Some(room) => {
                room.copy_from_slice(datagram);
                egress.push(datagram.len(), local, client);
            }
            None => self.drop(DatagramDrop::SendFull),
        });
        true
    }

    fn drop_all(&self, incoming: &Incoming, reason: DatagramDrop) {
        self.drop_many(incoming.count(), reason);
    }

    fn drop_many(&self, count: usize, reason: DatagramDrop) {
        for _ in 0..count {
            self.drop(reason);
        }
    }

    fn drop(&self, reason: DatagramDrop) {
        self.endpoint.host.metrics().datagram_dropped(reason);
    }
}

/// Whether the datagrams of a batch may belong to different connections, or have different
/// verdicts.
fn is_mixed(incoming: &Incoming) -> bool {
    let mut heads = incoming.segments().map(head);
    let first = heads.next();
    heads.any(|head| Some(head) != first)
}

/// As much of a datagram as tells where it belongs: flags that differ between packets of
/// a connection are left out.
fn head(datagram: &[u8]) -> &[u8] {
    match datagram.first() {
        Some(first) if first & 0x80 == 0 => datagram.get(1..18).unwrap_or(&[]),
        // Long headers are rare; each is looked at on its own unless it is equal.
        _ => datagram,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quic::incoming::BufferPool;

    /// A batch of datagrams, all but the last of `size` bytes, as GRO makes them.
    fn batch(size: usize, datagrams: &[Vec<u8>]) -> Incoming {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Incoming {
            peer_addr: address,
            local_addr: address,
            rx_time: None,
            buf: Rc::<BufferPool>::default().copy(&datagrams.concat()),
            gro: Some(size as u16),
            via: None,
        }
    }

    fn datagram(first: u8, id: u8, len: usize) -> Vec<u8> {
        let mut datagram = vec![id; len];
        datagram[0] = first;
        datagram
    }

    #[test]
    fn datagrams_of_a_batch_go_together_only_to_one_connection() {
        let (initial, short) = (0xc0, 0x40);
        let cases: [(&[Vec<u8>], bool); 5] = [
            (&[datagram(short, 1, 900), datagram(short, 1, 900)], false),
            (&[datagram(short, 1, 900), datagram(short, 1, 30)], false),
            (&[datagram(short, 1, 900), datagram(short, 2, 900)], true),
            (
                &[datagram(initial, 1, 900), datagram(initial, 2, 900)],
                true,
            ),
            // The last one is too small for an Initial, whatever those before are.
            (
                &[datagram(initial, 1, 900), datagram(initial, 1, 500)],
                true,
            ),
        ];
        for (index, (datagrams, mixed)) in cases.into_iter().enumerate() {
            assert_eq!(is_mixed(&batch(900, datagrams)), mixed, "{index}");
        }
    }
}
