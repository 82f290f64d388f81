//! From one configuration to the next: all of it, or nothing.
//!
//! First everything that can fail is prepared (sockets, TLS). Only when all of it is
//! there does the shard change over, between two turns of its connections, so that no
//! request sees half of each. Connections go on; only those whose listener is gone from
//! their port, or has HTTP/3 no longer, are drained.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};
use tidegate_proto::v1::Rejection;

use super::{
    Applied, Shard,
    bound::{Bound, Quic},
    socket_addresses,
};
use crate::{
    connections::LiveConnection,
    proxy,
    quic::{
        cid::CidCodec,
        endpoint::{Endpoint, EndpointKeys},
        listener::{Listener as QuicListener, Settings},
        udp::UdpSocket,
    },
    snapshot::{Binding, BindingKey, Configuration, Keys, Scheme},
    task::Task,
    tls::{Contexts, TcpAcceptor, Tickets, TlsError, quic_config},
};

/// What a binding of the next configuration needs.
struct Prepared {
    binding: Arc<Binding>,
    tls: Option<TcpAcceptor>,
    settings: Option<Settings>,
    /// New sockets, where the binding has none yet.
    tcp: Option<Vec<TcpListener>>,
    udp: Option<Vec<UdpSocket>>,
}

impl Shard {
    pub(super) fn apply(self: &Rc<Self>, next: &Arc<Configuration>) -> Applied {
        let snapshot = &next.snapshot;
        let mut applied = Applied {
            shard: self.index,
            version: snapshot.version.clone(),
            rejections: Vec::new(),
        };
        let serving = self.configuration();
        let same = serving.snapshot.version == snapshot.version && !self.bound.borrow().is_empty();
        if !same {
            let tickets = Tickets::new(&snapshot.keys.ticket);
            let mut contexts = self.contexts.borrow().successor();
            let mut prepared = Vec::new();
            for binding in &snapshot.bindings {
                match self.prepare(binding, &tickets, &mut contexts) {
                    Ok(ready) => prepared.push(ready),
                    Err(rejection) => applied.rejections.push(rejection),
                }
            }
            if !applied.rejections.is_empty() {
                return applied;
            }
            contexts.settle();
            *self.contexts.borrow_mut() = contexts;
            *self.keys.borrow_mut() = Rc::new(endpoint_keys(&snapshot.keys));
            self.tables.relay.set_keys(&snapshot.keys.relay);
            *self.configuration.borrow_mut() = Rc::new(Configuration::clone(next));
            let deadline = Instant::now() + RETIREMENT;
            self.retire(&prepared, deadline);
            for ready in prepared {
                self.put_in_service(ready, deadline);
            }
            for quic in self.bound.borrow().values().filter_map(Bound::quic) {
                quic.set_keys(self.keys.borrow().clone());
            }
            self.drain_unserved(deadline);
        } else {
            *self.configuration.borrow_mut() = Rc::new(Configuration::clone(next));
        }
        applied
    }

    fn prepare(
        &self,
        binding: &Arc<Binding>,
        tickets: &Tickets,
        contexts: &mut Contexts,
    ) -> Result<Prepared, Rejection> {
        let tls_failed =
            |error: TlsError| rejection(binding, "certificate_ids", &error.to_string());
        let mut http3 = binding
            .listeners
            .iter()
            .filter(|listener| listener.http3.is_some());
        let longest = http3
            .clone()
            .map(|listener| listener.quic.handshake_timeout)
            .max();
        let secure = binding.scheme == Scheme::Https;
        let ech_counts = &self.metrics.ech;
        let tls = secure
            .then(|| TcpAcceptor::new(binding, tickets, contexts, ech_counts))
            .transpose()
            .map_err(tls_failed)?;
        let settings = match http3.next() {
            Some(listener) => Some(Settings {
                config: quic_config(
                    binding,
                    &listener.quic,
                    tickets,
                    contexts,
                    &self.early_data,
                    ech_counts,
                )
                .map_err(tls_failed)?,
                retry: listener.quic.retry,
                handshake_timeout: longest.unwrap_or_default(),
            }),
            None => None,
        };
        let bound = self.bound.borrow();
        let existing = bound.get(&binding.key);
        let addresses = socket_addresses(&binding.key);
        let failed = |kind: &str, error: io::Error| {
            let message = format!(
                "{kind} {}: {error}; free the port, choose another one, or allow it",
                binding.key
            );
            rejection(binding, "port", &message)
        };
        let tcp = match existing.is_some_and(|bound| bound.tcp.is_some()) {
            true => None,
            false => Some(each(&addresses, bind_tcp).map_err(|error| failed("TCP", error))?),
        };
        let udp = match settings.is_none() || existing.is_some_and(|bound| bound.quic.is_some()) {
            true => None,
            false => Some(each(&addresses, UdpSocket::bind).map_err(|error| failed("UDP", error))?),
        };
        Ok(Prepared {
            binding: binding.clone(),
            tls,
            settings,
            tcp,
            udp,
        })
    }

    fn put_in_service(self: &Rc<Self>, prepared: Prepared, deadline: Instant) {
        let Prepared {
            binding,
            tls,
            settings,
            tcp,
            udp,
        } = prepared;
        let key = binding.key.clone();
        let mut all = self.bound.borrow_mut();
        let bound = all.entry(key.clone()).or_insert_with(|| Bound {
            tls: None,
            tcp: None,
            quic: None,
            retired: None,
        });
        bound.retired = None;
        bound.tls = tls.map(Rc::new);
        match (settings, &mut bound.quic, udp) {
            (Some(settings), Some(quic), _) => {
                quic.listener.set_settings(settings);
                quic.off = None;
            }
            (Some(settings), None, Some(sockets)) => {
                bound.quic = Some(self.serve_sockets(&key, settings, sockets));
            }
            // Switched off. The sockets stay for the connections that live.
            (None, Some(quic), _) if quic.off.is_none() => {
                quic.listener.stop();
                quic.off = Some(deadline);
                let key = key.clone();
                self.when_drained(deadline, move |shard| shard.bury_quic(&key, deadline));
            }
            _ => {}
        }
        if let Some(sockets) = tcp {
            bound.tcp = Some(Task::spawn(proxy::tcp::listen(self.clone(), key, sockets)));
        }
    }

    fn serve_sockets(
        self: &Rc<Self>,
        key: &BindingKey,
        settings: Settings,
        sockets: Vec<UdpSocket>,
    ) -> Quic {
        let endpoint = Rc::new(Endpoint::new(
            self.clone(),
            sockets,
            self.tables.clone(),
            self.place(),
            self.keys.borrow().clone(),
        ));
        let (shard, binding) = (Rc::downgrade(self), key.clone());
        let listener = Rc::new(QuicListener::new(endpoint, settings, move |initial| {
            if let Some(shard) = shard.upgrade() {
                shard.serve_quic(binding.clone(), initial);
            }
        }));
        let service = listener.spawn();
        Quic {
            listener,
            _service: service,
            off: None,
        }
    }

    /// Takes what is in no binding any more out of service: no new connections, and its sockets
    /// go when those that live have ended.
    fn retire(self: &Rc<Self>, next: &[Prepared], deadline: Instant) {
        let mut all = self.bound.borrow_mut();
        for (key, bound) in all.iter_mut() {
            if next.iter().any(|prepared| prepared.binding.key == *key) || bound.retired.is_some() {
                continue;
            }
            bound.tcp = None;
            bound.retired = Some(deadline);
            if let Some(quic) = bound.quic() {
                quic.stop();
            }
            let key = key.clone();
            self.when_drained(deadline, move |shard| shard.bury(&key, deadline));
        }
    }

    /// Drains the connections that have lost their listener, or HTTP/3 on it.
    fn drain_unserved(&self, deadline: Instant) {
        let configuration = self.configuration();
        let served = |connection: &dyn LiveConnection, id: &str| {
            let bindings = configuration.snapshot.bindings.iter();
            bindings
                .filter(|binding| binding.key.port == connection.port())
                .flat_map(|binding| &binding.listeners)
                .any(|listener| {
                    *listener.id == *id && (listener.http3.is_some() || !connection.is_quic())
                })
        };
        for (_, connection) in self.connections.borrow().iter() {
            let listener = connection.listener();
            if listener.is_some_and(|id| !served(&**connection, &id)) {
                connection.drain(deadline);
            }
        }
    }

    /// Does something when what is drained until `deadline` has had its last packets.
    fn when_drained(self: &Rc<Self>, deadline: Instant, act: impl FnOnce(&Self) + 'static) {
        let shard = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep_until((deadline + LAST_PACKETS).into()).await;
            if let Some(shard) = shard.upgrade() {
                act(&shard);
            }
        });
    }

    /// Closes the sockets of a binding, unless it is back.
    fn bury(&self, key: &BindingKey, deadline: Instant) {
        let mut all = self.bound.borrow_mut();
        if all
            .get(key)
            .is_some_and(|bound| bound.retired == Some(deadline))
        {
            all.remove(key);
        }
    }

    /// Closes the UDP sockets of a binding, unless HTTP/3 is back.
    fn bury_quic(&self, key: &BindingKey, deadline: Instant) {
        if let Some(bound) = self.bound.borrow_mut().get_mut(key) {
            bound.quic.take_if(|quic| quic.off == Some(deadline));
        }
    }
}

/// Codecs and secrets for the connection layer.
pub(super) fn endpoint_keys(keys: &Keys) -> EndpointKeys {
    EndpointKeys {
        cids: CidCodec::new(&keys.cid),
        retry: keys.retry.clone(),
        reset: keys.reset.clone(),
    }
}

fn each<T>(
    addresses: &[SocketAddr],
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<Vec<T>> {
    let mut sockets = Vec::new();
    for address in addresses {
        match bind(*address) {
            Ok(socket) => sockets.push(socket),
            // A machine without IPv6 has no use for that half of "every address".
            Err(error)
                if address.ip().is_unspecified()
                    && address.is_ipv6()
                    && matches!(
                        error.raw_os_error(),
                        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
                    ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sockets)
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    // Requests and responses are whole when they are written. What is accepted inherits it.
    let _optional = crate::sys::set_option(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
    Ok(socket.into())
}

fn rejection(binding: &Binding, field: &str, message: &str) -> Rejection {
    let ids: Vec<&str> = binding
        .listeners
        .iter()
        .map(|listener| &*listener.id)
        .collect();
    Rejection {
        object: ids.join(", "),
        field: field.to_owned(),
        message: message.to_owned(),
    }
}

const BACKLOG: i32 = 4_096;
/// How long connections of a removed listener may take.
const RETIREMENT: Duration = Duration::from_secs(30);
/// For closing periods after that.
const LAST_PACKETS: Duration = Duration::from_secs(3);
