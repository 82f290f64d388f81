//! HTTP/1.1 and HTTP/2 over TCP, with TLS and without.
//!
//! Owns TCP connections from accept to close: TLS, the choice of the protocol, admission,
//! time-outs, commands and the audit record. Never touches a request: hyper reads it and
//! [`serve`](super::serve) answers it. The shard calls [`listen`].

mod drive;
mod gather;
mod handshake;
mod http1;
mod live;
mod reply;
mod turn;

use std::{
    cell::Cell,
    convert::Infallible,
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future;
use http::{Method, Request};
use hyper::{body::Incoming, rt::Executor as _, service::Service};
use hyper_util::rt::{TokioIo, TokioTimer};
use tidegate_proto::v1::{ClosedBy, TlsInfo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use self::{
    drive::{Ending, Rules},
    gather::{Gather, RECORD, SEGMENTS},
    http1::{Http1, Next},
    live::{Live, Registered},
    reply::{Reply, Streams},
    turn::Turn,
};
use super::{Body, Origin, Transport, authority, serve, wire::Wire};
use crate::{
    connections::LiveConnection as _,
    quic::stats::tls_info,
    shard::Shard,
    snapshot::{Binding, BindingKey, HttpLimits, Listener, Scheme},
    tls::Terms,
};

/// Accepts on these sockets until it is dropped. Connections live on as tasks of their
/// own. The sockets must be non-blocking.
pub async fn listen(shard: Rc<Shard>, binding: BindingKey, sockets: Vec<std::net::TcpListener>) {
    future::join_all(
        sockets
            .into_iter()
            .map(|socket| accept(&shard, &binding, socket)),
    )
    .await;
}

async fn accept(shard: &Rc<Shard>, binding: &BindingKey, socket: std::net::TcpListener) {
    let socket = match TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%binding, %error, "the socket cannot be used");
            return;
        }
    };
    loop {
        match socket.accept().await {
            Ok((stream, _)) if shard.connections.borrow().len() >= MOST_CONNECTIONS => {
                refuse(shard, stream, "limit");
            }
            Ok((stream, _)) => {
                tokio::task::spawn_local(connection(shard.clone(), binding.clone(), stream));
            }
            // The client gave up while it waited.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // Most likely there are no file descriptors; more tries would not help.
                tracing::warn!(%binding, %error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn refuse(shard: &Shard, stream: TcpStream, reason: &'static str) {
    shard.metrics.http.tcp_refused(reason);
    drop(stream);
}

/// A connection's life.
async fn connection(shard: Rc<Shard>, key: BindingKey, stream: TcpStream) {
    let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else {
        // Reset before anybody looked at it.
        shard.metrics.http.tcp_refused("other");
        return;
    };
    let configuration = shard.configuration();
    let Some(binding) = configuration.snapshot.binding(&key).cloned() else {
        shard.metrics.http.tcp_refused("other");
        return;
    };
    drop(configuration);
    let limits = &binding.limits;
    let wire = Wire::new(stream, limits.body_idle_timeout);
    let write_timeout = wire.write_timeout();
    let patience = match binding.scheme {
        Scheme::Https => limits.tls_handshake_timeout,
        Scheme::Http => limits.header_timeout,
    };
    let live = Rc::new(Live::new(peer, local, wire.traffic(), patience));
    let registered = Registered::new(shard.clone(), live.clone());
    let accepted = Accepted {
        shard,
        key,
        binding,
        live,
        write_timeout,
    };
    let ending = match accepted.binding.scheme {
        Scheme::Https => accepted.over_tls(wire, &registered).await,
        Scheme::Http => accepted.in_clear(wire, &registered).await,
    };
    registered.end(ending);
}

/// A connection that is there, and speaks nothing yet.
struct Accepted {
    shard: Rc<Shard>,
    key: BindingKey,
    binding: Arc<Binding>,
    live: Rc<Live>,
    write_timeout: Rc<Cell<Duration>>,
}

/// What was agreed on, in clear or over TLS.
struct Session {
    info: TlsInfo,
    terms: Option<Arc<Terms>>,
}

impl Accepted {
    async fn over_tls(self, wire: Wire, registered: &Registered) -> Ending {
        let Some(acceptor) = self.shard.tls(&self.key) else {
            return Ending::new(ClosedBy::Local, "the binding has no TLS");
        };
        let handshake = self.handshake(&acceptor, wire);
        let stream = match self.live.unless_told(handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(ending)) | Err(ending) => return ending,
        };
        let ssl = stream.ssl();
        let multiplex = ssl.selected_alpn_protocol() == Some(b"h2");
        let alpn: &[u8] = if multiplex { b"h2" } else { b"http/1.1" };
        let info = tls_info(ssl, alpn, ssl.session_reused(), false);
        let terms = Terms::get(ssl);
        let listener = self.binding.listener_of_connection(Some(&info.server_name));
        let listener = listener.clone();
        self.live.listener.replace(Some(listener.id.clone()));
        let tls = Session { info, terms };
        let stream = Gather::new(stream, RECORD);
        self.speak(stream, multiplex, tls, Some(&listener), registered)
            .await
    }

    async fn in_clear(self, mut wire: Wire, registered: &Registered) -> Ending {
        let preface = timeout(
            self.binding.limits.header_timeout,
            wire.begins_with(HTTP2_PREFACE),
        );
        let multiplex = match self.live.unless_told(preface).await {
            Ok(Ok(Ok(multiplex))) => multiplex,
            Ok(Ok(Err(error))) => return Ending::new(ClosedBy::Peer, error.to_string()),
            Ok(Err(_)) => {
                return Ending::new(ClosedBy::HandshakeTimeout, "nothing was sent in time");
            }
            Err(ending) => return ending,
        };
        let alpn = if multiplex { "h2" } else { "http/1.1" };
        let info = TlsInfo {
            alpn: alpn.into(),
            ..TlsInfo::default()
        };
        let tls = Session { info, terms: None };
        // Among several, the first request's host tells.
        let only = match &*self.binding.listeners {
            [only] => Some(only.clone()),
            _ => None,
        };
        self.live
            .listener
            .replace(only.as_ref().map(|listener| listener.id.clone()));
        let stream = Gather::new(wire, SEGMENTS);
        self.speak(stream, multiplex, tls, only.as_ref(), registered)
            .await
    }

    async fn speak<S>(
        self,
        stream: S,
        multiplex: bool,
        Session { info: tls, terms }: Session,
        listener: Option<&Arc<Listener>>,
        registered: &Registered,
    ) -> Ending
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let peer = self.live.peer.ip().to_canonical();
        if listener.is_some_and(|listener| !listener.admission.admits(peer)) {
            self.shard.metrics.http.tcp_refused("admission");
            return Ending::new(ClosedBy::Admission, "the address is not admitted");
        }
        let server_name = Some(&*tls.server_name).filter(|name| !name.is_empty());
        let limits = self.binding.limits_of_connection(server_name).clone();
        self.write_timeout.set(limits.body_idle_timeout);
        let server_name = server_name.map(Rc::from);
        self.live.established(tls, self.binding.scheme);
        registered.report_established();
        let listener = self.live.listener.borrow().clone();
        if let Some(deadline) = self.shard.drain_deadline(listener.as_deref()) {
            self.live.drain(deadline);
        }
        let origin = Origin::new(
            self.shard,
            self.key,
            self.binding.scheme,
            Transport::Tcp,
            self.live.local,
            server_name,
            self.live.peer,
        )
        .under(terms);
        let streams = Streams::default();
        let link = Rc::new(Link {
            origin,
            binding: self.binding,
            live: self.live.clone(),
            streams: streams.clone(),
            next: Rc::default(),
        });
        let next = link.next.clone();
        let service = Requests { link };
        let turn = Turn::new(stream);
        let io = TokioIo::new(turn.share());
        let rules = Rules::new(&limits, multiplex);
        let live = &self.live;
        let ending = if multiplex {
            let connection = pin!(http2(&limits, &streams).serve_connection(io, service));
            drive::drive(live, rules, &streams, &turn, connection, |it| {
                it.graceful_shutdown()
            })
            .await
        } else {
            let connection = http1(&limits).serve_connection(io, service);
            let mut connection = Http1::new(connection, next);
            let graceful = |it: Pin<&mut Http1<Turn<S>>>| it.get_mut().graceful_shutdown();
            let pinned = Pin::new(&mut connection);
            let ending = drive::drive(live, rules, &streams, &turn, pinned, graceful).await;
            match connection.switched() {
                Some(switched) => drive::drive_tunnel(live, switched.run()).await,
                None => ending,
            }
        };
        streams.abort();
        ending
    }
}

/// HTTP/1.1 with the listener's limits. Header and idle time-outs are in [`drive`], so
/// that they are the same for HTTP/2.
fn http1(limits: &HttpLimits) -> hyper::server::conn::http1::Builder {
    let section = usize::try_from(limits.max_field_section_size).unwrap_or(usize::MAX / 2);
    let head = section.saturating_add(LONGEST_REQUEST_LINE);
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(limits.max_fields)
        .max_header_size(head)
        .max_buf_size(head.max(LEAST_BUFFER));
    builder
}

fn http2(limits: &HttpLimits, streams: &Streams) -> hyper::server::conn::http2::Builder<Streams> {
    let section = u32::try_from(limits.max_field_section_size).unwrap_or(u32::MAX);
    let mut builder = hyper::server::conn::http2::Builder::new(streams.clone());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(section)
        .max_concurrent_streams(MOST_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .enable_connect_protocol();
    builder
}

/// What the requests of one connection share.
struct Link {
    origin: Origin,
    binding: Arc<Binding>,
    live: Rc<Live>,
    streams: Streams,
    /// What the connection turns into after the response that is under way.
    next: Next,
}

/// Hyper's way to [`serve`].
struct Requests {
    link: Rc<Link>,
}

impl Service<Request<Incoming>> for Requests {
    type Response = http::Response<Reply>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let link = self.link.clone();
        // From here on, so that the driver sees it when hyper returns.
        let active = link.live.begin_request();
        // In HTTP/2 it is the stream that becomes something else (RFC 8441).
        let stream =
            (request.method() == Method::CONNECT).then(|| hyper::upgrade::on(&mut request));
        Box::pin(async move {
            link.name_listener(&request);
            let request = Box::new(request.map(Body::Hyper));
            let mut response = serve(&link.origin, request, &|_| {}).await;
            if let Some(tunnel) = response.body_mut().take_tunnel() {
                let active = link.live.go_on();
                match stream {
                    Some(stream) => link.streams.execute(async move {
                        let _active = active;
                        if let Ok(stream) = stream.await {
                            tunnel.run(TokioIo::new(stream), Bytes::new()).await;
                        }
                    }),
                    None => link.next.set(Some((tunnel, active))),
                }
            }
            Ok(response.map(|body| Reply::new(body, active, &link.streams)))
        })
    }
}

impl Link {
    fn name_listener(&self, request: &Request<Incoming>) {
        if self.live.listener.borrow().is_some() {
            return;
        }
        if let Ok(host) = authority::of(request, self.binding.scheme)
            && let Some(listener) = self.binding.listener_for(&host.name)
        {
            self.live.listener.replace(Some(listener.id.clone()));
        }
    }
}

/// RFC 9113 3.4.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Connections of one shard, QUIC's included.
const MOST_CONNECTIONS: usize = 65_536;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_REQUEST_LINE: usize = 8 * 1024;
const LEAST_BUFFER: usize = 64 * 1024;
const MOST_STREAMS: u32 = 128;
/// What clients may send ahead of a slow upstream: on one stream, and on a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What waits for the client's window, for each stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Pings find clients that vanished while a response is waited for.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests;
