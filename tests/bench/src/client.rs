//! Many QUIC connections of one client, on quiche and one thread.
//!
//! Owns sockets, connections and timers, and moves packets. What a connection does is its
//! [`Script`]'s to say.

mod timers;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::UdpSocket};
use quiche::{ConnectionId, h3};

use self::timers::Timers;

/// What connections do. One value serves all of them.
pub trait Script {
    /// Something happened on a connection: packets came, or its timer fired.
    fn progress(&mut self, connection: &mut Connection);
    /// A connection is gone. Its memory is given back after this.
    fn ended(&mut self, connection: &mut Connection);
}

/// One connection.
pub struct Connection {
    pub index: usize,
    pub quic: quiche::Connection,
    pub h3: Option<h3::Connection>,
    pub started: Instant,
    /// How far its script is.
    pub step: u32,
    socket: usize,
    local: SocketAddr,
}

/// The client.
pub struct Client {
    server: SocketAddr,
    server_name: String,
    config: quiche::Config,
    poll: Poll,
    events: Events,
    sockets: Vec<UdpSocket>,
    connections: Vec<Option<Box<Connection>>>,
    free: Vec<usize>,
    timers: Timers,
    open: usize,
}

/// Transport settings of all connections. `groups`: the key exchanges to offer, or
/// BoringSSL's own choice, which begins with X25519MLKEM768.
pub fn config(groups: Option<&str>) -> quiche::Result<quiche::Config> {
    let mut config = quiche::Config::new(quiche::PROTOCOL_VERSION)?;
    config.set_application_protos(h3::APPLICATION_PROTOCOL)?;
    config.verify_peer(false);
    config.set_max_idle_timeout(0);
    config.set_initial_max_data(64 << 20);
    config.set_initial_max_stream_data_bidi_local(16 << 20);
    config.set_initial_max_stream_data_uni(1 << 20);
    config.set_initial_max_streams_uni(8);
    config.set_max_recv_udp_payload_size(1500);
    config.set_max_send_udp_payload_size(1350);
    if let Some(groups) = groups {
        config.set_curves_list(groups)?;
    }
    Ok(config)
}

impl Client {
    pub fn new(server: SocketAddr, server_name: &str, config: quiche::Config) -> io::Result<Self> {
        Ok(Self {
            server,
            server_name: server_name.to_owned(),
            config,
            poll: Poll::new()?,
            events: Events::with_capacity(256),
            sockets: Vec::new(),
            connections: Vec::new(),
            free: Vec::new(),
            timers: Timers::default(),
            open: 0,
        })
    }

    /// Connections that are not closed.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Begins a connection, with the session of an earlier one if there is one.
    pub fn connect(&mut self, session: Option<&[u8]>) -> anyhow::Result<usize> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        let socket = index / PER_SOCKET;
        while self.sockets.len() <= socket {
            self.bind()?;
        }
        let local = self.sockets[socket].local_addr()?;
        let mut scid = [0; CID_LEN];
        scid[..4].copy_from_slice(&(index as u32).to_be_bytes());
        scid[4..].copy_from_slice(&rand::random::<[u8; 4]>());
        let mut quic = quiche::connect(
            Some(&self.server_name),
            &ConnectionId::from_ref(&scid),
            local,
            self.server,
            &mut self.config,
        )?;
        if let Some(session) = session {
            quic.set_session(session)?;
        }
        let connection = Connection {
            index,
            quic,
            h3: None,
            started: Instant::now(),
            step: 0,
            socket,
            local,
        };
        self.connections[index] = Some(Box::new(connection));
        self.open += 1;
        self.flush(index)?;
        Ok(index)
    }

    /// A connection that is open.
    pub fn connection(&mut self, index: usize) -> Option<&mut Connection> {
        self.connections.get_mut(index)?.as_deref_mut()
    }

    /// Sends what a connection has to send, and sets its timer.
    pub fn flush(&mut self, index: usize) -> io::Result<()> {
        let Some(connection) = self.connections[index].as_deref_mut() else {
            return Ok(());
        };
        let mut room = [0; 1500];
        // No window is larger. Once there was no end of packets, to Traefik.
        for _ in 0..MOST_PACKETS {
            let Ok((length, info)) = connection.quic.send(&mut room) else {
                break;
            };
            match self.sockets[connection.socket].send_to(&room[..length], info.to) {
                // What does not fit is lost, as anywhere on the way.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        if let Some(at) = connection.quic.timeout_instant() {
            self.timers.set(index, at);
        }
        Ok(())
    }

    /// Waits at most until `until`, for one round of packets and timers.
    pub fn turn(&mut self, script: &mut impl Script, until: Instant) -> io::Result<()> {
        let now = Instant::now();
        let next = self.timers.next().map_or(until, |timer| timer.min(until));
        let timeout = next.saturating_duration_since(now).max(SHORTEST_WAIT);
        if let Err(error) = self.poll.poll(&mut self.events, Some(timeout))
            && error.kind() != io::ErrorKind::Interrupted
        {
            return Err(error);
        }
        let ready: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
        let mut touched = Vec::new();
        for socket in ready {
            self.receive(socket, &mut touched);
        }
        for index in self.timers.due(Instant::now()) {
            if let Some(connection) = self.connections[index].as_deref_mut() {
                // A timer that was moved fires for nothing.
                if connection
                    .quic
                    .timeout_instant()
                    .is_some_and(|at| at <= Instant::now())
                {
                    connection.quic.on_timeout();
                }
                touched.push(index);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for index in touched {
            if let Some(connection) = self.connections[index].as_deref_mut() {
                script.progress(connection);
            }
            self.flush(index)?;
            self.reap(script, index);
        }
        Ok(())
    }

    fn reap(&mut self, script: &mut impl Script, index: usize) {
        // What is left after the close was sent concerns nobody here.
        let over = |connection: &&mut Connection| {
            connection.quic.is_closed()
                || connection.quic.is_draining()
                || connection.quic.local_error().is_some()
        };
        if let Some(connection) = self.connections[index].as_deref_mut().filter(over) {
            script.ended(connection);
            self.connections[index] = None;
            self.free.push(index);
            self.open -= 1;
        }
    }

    fn receive(&mut self, socket: usize, touched: &mut Vec<usize>) {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = self.sockets[socket].recv_from(&mut buffer) {
            let datagram = &mut buffer[..length];
            let Some(index) = owner(datagram) else {
                continue;
            };
            let Some(Some(connection)) = self.connections.get_mut(index) else {
                continue;
            };
            let info = quiche::RecvInfo {
                from,
                to: connection.local,
            };
            // Errors show in the connection's state.
            let _state_tells = connection.quic.recv(datagram, info);
            touched.push(index);
        }
    }

    fn bind(&mut self) -> io::Result<()> {
        let mut socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let token = Token(self.sockets.len());
        (self.poll.registry()).register(&mut socket, token, Interest::READABLE)?;
        self.sockets.push(socket);
        Ok(())
    }
}

impl Connection {
    /// HTTP/3 on an established connection.
    pub fn http3(&mut self) -> anyhow::Result<&mut h3::Connection> {
        if self.h3.is_none() {
            let config = h3::Config::new()?;
            self.h3 = Some(h3::Connection::with_transport(&mut self.quic, &config)?);
        }
        Ok(self.h3.as_mut().expect("it was just made"))
    }

    /// Sends a GET.
    pub fn get(&mut self, path: &str) -> anyhow::Result<u64> {
        self.http3()?;
        let (h3, quic) = (self.h3.as_mut().expect("made above"), &mut self.quic);
        let head = [
            h3::Header::new(b":method", b"GET"),
            h3::Header::new(b":scheme", b"https"),
            h3::Header::new(b":authority", b"localhost"),
            h3::Header::new(b":path", path.as_bytes()),
            h3::Header::new(b"user-agent", b"tidegate-bench"),
        ];
        Ok(h3.send_request(quic, &head, true)?)
    }

    /// Reads what came. Says how many responses ended.
    pub fn responses(&mut self) -> usize {
        let Some(h3) = &mut self.h3 else { return 0 };
        let mut ended = 0;
        let mut buffer = [0; 16 * 1024];
        while let Ok((stream, event)) = h3.poll(&mut self.quic) {
            match event {
                h3::Event::Data => {
                    while h3.recv_body(&mut self.quic, stream, &mut buffer).is_ok() {}
                }
                h3::Event::Finished => ended += 1,
                _ => {}
            }
        }
        ended
    }
}

/// The connection that a datagram names: its ID begins with the index.
fn owner(datagram: &[u8]) -> Option<usize> {
    let first = datagram.first()?;
    let id = if first & 0x80 == 0 {
        datagram.get(1..5)?
    } else {
        datagram.get(6..10)?
    };
    Some(u32::from_be_bytes(id.try_into().ok()?) as usize)
}

const CID_LEN: usize = 8;
/// Packets that leave in one go.
const MOST_PACKETS: usize = 10_000;
/// Connections that share an address.
const PER_SOCKET: usize = 50;
/// Timers of QUIC are no finer.
const SHORTEST_WAIT: Duration = Duration::from_micros(200);
