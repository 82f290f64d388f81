//! From one configuration to the next: all of it, or nothing.
//!
//! First everything that can fail is prepared (sockets, TLS). Only when all of it is
//! there does the shard change over, between two turns of its connections, so that no
//! request sees half of each. Connections go on; only those of a listener that is gone
//! are drained.

use std::{
    collections::BTreeMap,
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
            self.retire(&prepared);
            for ready in prepared {
                self.put_in_service(ready);
            }
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
        let http3 = binding
            .listeners
            .iter()
            .find(|listener| listener.http3.is_some());
        let secure = binding.scheme == Scheme::Https;
        let ech_counts = &self.metrics.ech;
        let tls = secure
            .then(|| TcpAcceptor::new(binding, tickets, contexts, ech_counts))
            .transpose()
            .map_err(tls_failed)?;
        let settings = match http3 {
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
                handshake_timeout: listener.quic.handshake_timeout,
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

    fn put_in_service(self: &Rc<Self>, prepared: Prepared) {
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
            http3: false,
            retired: None,
        });
        bound.retired = None;
        bound.tls = tls.map(Rc::new);
        match (settings, &bound.quic, udp) {
            (Some(settings), Some(quic), _) => {
                quic.listener.set_settings(settings);
                quic.listener.set_keys(self.keys.borrow().clone());
            }
            (Some(settings), None, Some(sockets)) => {
                bound.quic = Some(self.serve_sockets(&key, settings, sockets));
            }
            // Switched off or never on. The sockets stay for the connections that live.
            _ => self.drain_binding(&binding),
        }
        bound.http3 = binding.http3().is_some();
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
        }
    }

    /// Takes what is in no binding any more out of service: no new connections, and those
    /// that live are drained.
    fn retire(self: &Rc<Self>, next: &[Prepared]) {
        let deadline = Instant::now() + RETIREMENT;
        let mut all = self.bound.borrow_mut();
        for (key, bound) in all.iter_mut() {
            if next.iter().any(|prepared| prepared.binding.key == *key) || bound.retired.is_some() {
                continue;
            }
            bound.tcp = None;
            bound.retired = Some(deadline);
            let (shard, key) = (Rc::downgrade(self), key.clone());
            tokio::task::spawn_local(async move {
                tokio::time::sleep_until((deadline + LAST_PACKETS).into()).await;
                if let Some(shard) = shard.upgrade() {
                    shard.bury(&key, deadline);
                }
            });
        }
        drop(all);
        let live = |id: &str| {
            let mut listeners = next.iter().flat_map(|prepared| &prepared.binding.listeners);
            listeners.any(|listener| &*listener.id == id)
        };
        for (_, connection) in self.connections.borrow().iter() {
            if connection.listener().is_some_and(|id| !live(&id)) {
                connection.drain(deadline);
            }
        }
    }

    /// HTTP/3 is off: what still speaks it is drained.
    fn drain_binding(&self, binding: &Binding) {
        let deadline = Instant::now() + RETIREMENT;
        for (_, connection) in self.connections.borrow().iter() {
            let facts = connection.describe();
            let of_binding = binding
                .listeners
                .iter()
                .any(|listener| *listener.id == *facts.listener_id);
            if of_binding && facts.transport == "quic" {
                connection.drain(deadline);
            }
        }
    }

    fn bury(&self, key: &BindingKey, deadline: Instant) {
        let mut all: std::cell::RefMut<'_, BTreeMap<BindingKey, Bound>> = self.bound.borrow_mut();
        if all
            .get(key)
            .is_some_and(|bound| bound.retired == Some(deadline))
        {
            all.remove(key);
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
