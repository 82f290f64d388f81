//! The way of a request: the same for HTTP/1.1, HTTP/2 and HTTP/3.
//!
//! Owns [`serve`], which every front-end calls ([`tcp`] for HTTP/1.1 and HTTP/2, [`h3`] for
//! HTTP/3), and the rules that all three share, so that they give the same verdict. Never
//! keeps state between requests: that is in the shard, and upstream connections in
//! [`upstream`].
//!
//! A request goes through `accept` (whose is it, and is it well formed), the route table,
//! the filters and `forward`; an `exchange` accompanies both bodies to their ends.

pub(crate) mod accept;
pub(crate) mod authority;
pub mod body;
mod exchange;
mod failure;
pub(crate) mod fields;
pub(crate) mod forward;
pub(crate) mod forwarded;
mod grpc;
pub mod h3;
mod interim;
mod local;
mod mirror;
mod pause;
mod retry;
pub mod tcp;
mod tunnel;
pub mod upstream;
mod wire;

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
};

use http::{HeaderValue, Method, Request, Response, Version, header, request::Parts};

pub use self::body::{Body, BodyError};
use self::{
    accept::Accepted,
    authority::Host,
    exchange::Exchange,
    failure::Failure,
    fields::{Framing, Upgrade},
    forward::{Chosen, Outgoing, Upstream},
    forwarded::Hop,
    upstream::Destination,
};
use crate::{
    filter, path,
    route::{Matched, RouteTable},
    shard::Shard,
    snapshot::{BackendProtocol, BindingKey, Configuration, HttpLimits, Listener, Scheme},
    tls::Terms,
};

/// Where requests come from: one of these for each downstream connection.
pub struct Origin {
    /// The shard that owns the connection.
    pub shard: Rc<Shard>,
    /// What the connection was accepted on.
    pub binding: BindingKey,
    /// `https` after TLS or QUIC.
    pub scheme: Scheme,
    /// What carries the connection.
    pub transport: Transport,
    /// This side's address.
    pub local: SocketAddr,
    /// SNI of the handshake, lower case. `None`: no TLS, or no SNI in it.
    pub server_name: Option<Rc<str>>,
    /// What the handshake was made under. `None`: no TLS.
    pub terms: Option<Arc<Terms>>,
    peer: Cell<SocketAddr>,
    /// That of the last request. Nearly always the next one's is the same.
    hop: RefCell<Option<Rc<Hop>>>,
}

/// What carries a downstream connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP/3.
    Quic,
    /// HTTP/1.1 and HTTP/2.
    Tcp,
}

impl Origin {
    /// `peer` is the client's validated address.
    pub fn new(
        shard: Rc<Shard>,
        binding: BindingKey,
        scheme: Scheme,
        transport: Transport,
        local: SocketAddr,
        server_name: Option<Rc<str>>,
        peer: SocketAddr,
    ) -> Self {
        let peer = Cell::new(peer);
        Self {
            shard,
            binding,
            scheme,
            transport,
            local,
            server_name,
            terms: None,
            peer,
            hop: RefCell::default(),
        }
    }

    /// The same, after a handshake under these terms.
    #[must_use]
    pub fn under(self, terms: Option<Arc<Terms>>) -> Self {
        Self { terms, ..self }
    }

    /// The listeners' port.
    fn port(&self) -> u16 {
        // The system has chosen it where the binding says 0.
        if self.binding.port == 0 {
            self.local.port()
        } else {
            self.binding.port
        }
    }

    /// One of the limits of this connection's requests, as they are before a request has named
    /// its host.
    fn limits<T>(&self, choose: impl Fn(&HttpLimits) -> T) -> T {
        let configuration = self.shard.configuration();
        match configuration.snapshot.binding(&self.binding) {
            Some(binding) => {
                let name = self.server_name.as_deref();
                choose(binding.limits_of_connection(name))
            }
            // The listener is gone; what is under way goes on.
            None => choose(&HttpLimits::default()),
        }
    }

    /// The client's address, which upstreams are told.
    pub fn peer(&self) -> SocketAddr {
        self.peer.get()
    }

    /// The client migrated. Only for paths that are validated (RFC 9000 section 8.2):
    /// before that the address is what anybody may have written into a packet.
    pub fn set_peer(&self, peer: SocketAddr) {
        self.peer.set(peer);
    }

    /// The way that a request came.
    fn hop<B>(&self, request: &Request<B>) -> Result<Rc<Hop>, Failure> {
        let named = authority::named(request, self.scheme)?;
        let mut last = self.hop.borrow_mut();
        if let Some(hop) = &*last
            && hop.is_of(self.peer(), named)
        {
            return Ok(hop.clone());
        }
        let host = Host::parse(named)?;
        let hop = Hop::new(self.peer(), self.local, self.scheme.as_str(), host);
        Ok(last.insert(Rc::new(hop)).clone())
    }
}

/// Takes the 1xx heads that an upstream sends before its response.
pub type Interim<'a> = &'a dyn Fn(Response<()>);

/// Answers a request. Never fails: what goes wrong is a response.
///
/// Dropping the future cancels the upstream request, and so does dropping the response's
/// body before its end. The request's body is dropped as soon as nobody wants more of it,
/// which may be long after the response's head is there. The request is in a box, because
/// many hands pass it on.
pub async fn serve(
    origin: &Origin,
    request: Box<Request<Body>>,
    interim: Interim<'_>,
) -> Response<Body> {
    let shard = &origin.shard;
    let (method, headers) = (request.method(), request.headers());
    let trace = shard
        .telemetry
        .start_request(method, request.uri().path(), headers);
    let exchange = Exchange::begin(
        shard.metrics.clone(),
        trace,
        method.clone(),
        request.version(),
        origin.scheme.as_str(),
    );
    let configuration = shard.configuration();
    let client = Client {
        is_head: method == Method::HEAD,
        may_close: request.version() < Version::HTTP_2,
        is_grpc: grpc::is_grpc(headers),
    };
    let answer = answer(origin, &configuration, request, interim, &exchange, client).await;
    let mut response = answer.unwrap_or_else(|failure| client.refuse(failure, &exchange));
    advertise_http3(origin, &configuration, response.headers_mut());
    response
}

/// What decides the form of the gateway's own answers.
#[derive(Clone, Copy)]
struct Client {
    is_head: bool,
    may_close: bool,
    is_grpc: bool,
}

impl Client {
    fn refuse(self, failure: Failure, exchange: &Exchange) -> Response<Body> {
        exchange.failed(failure);
        // Another connection may do, which only HTTP can say.
        if self.is_grpc && failure != Failure::Misdirected {
            let response = grpc::response(failure);
            exchange.answered(response.status());
            return response;
        }
        let mut response = failure.response(self.is_head);
        // RFC 9112 6.3: where the message's end is in doubt, so is the next one's begin.
        if self.may_close && failure.is_about_framing() {
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Up to the route: whose request it is, and what browsers may be told.
async fn answer(
    origin: &Origin,
    configuration: &Rc<Configuration>,
    mut request: Box<Request<Body>>,
    interim: Interim<'_>,
    exchange: &Rc<Exchange>,
    client: Client,
) -> Result<Response<Body>, Failure> {
    let Accepted {
        listener,
        hop,
        framing,
    } = accept::accept(origin, configuration, &request)?;
    accept::normalize(&hop.host, framing, &mut request);
    let path = path::canonical(request.uri().path()).map_err(accept::refused_path)?;
    *request.uri_mut() = accept::target(request.uri(), &path)?;
    let matched = find(&listener.routes, &hop.host.name, &request).ok_or(Failure::NoRoute)?;
    exchange.routed(&matched.route.id, matched.rule.request_timeout);
    let cors = filter::cors(&matched.rule.filters)
        .map(|cors| cors.judge(request.method(), request.headers()));
    if let Some(cors) = &cors
        && let Some(preflight) = cors.answer()
    {
        let mut response = answer_directly(preflight, &matched.rule.filters, exchange);
        cors.apply(response.headers_mut());
        return Ok(response);
    }
    let routed = Routed {
        origin,
        configuration,
        listener,
        hop,
        framing,
        matched,
    };
    let answer = routed.answer(request, interim, exchange).await;
    let mut response = answer.unwrap_or_else(|failure| client.refuse(failure, exchange));
    if let Some(cors) = &cors {
        cors.apply(response.headers_mut());
    }
    Ok(response)
}

/// The rule that serves a request. A preflight is served by the rule of the request that it
/// asks about, where none is for OPTIONS.
fn find<'a>(routes: &'a RouteTable, host: &str, request: &Request<Body>) -> Option<Matched<'a>> {
    let (uri, headers) = (request.uri(), request.headers());
    let find = |method: &Method| routes.find(host, method, uri.path(), uri.query(), headers);
    let has_cors = |matched: &Matched<'_>| filter::cors(&matched.rule.filters).is_some();
    let found = find(request.method());
    if found.as_ref().is_some_and(has_cors) {
        return found;
    }
    let asked = filter::preflight(request.method(), headers)
        .and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    match asked.and_then(|method| find(&method)).filter(has_cors) {
        Some(asked) => Some(asked),
        None => found,
    }
}

/// A request that a rule serves.
struct Routed<'a> {
    origin: &'a Origin,
    configuration: &'a Rc<Configuration>,
    listener: &'a Listener,
    hop: Rc<Hop>,
    framing: Framing,
    matched: Matched<'a>,
}

impl Routed<'_> {
    /// Up to the backend: what becomes of the request, and where it goes.
    async fn answer(
        self,
        request: Box<Request<Body>>,
        interim: Interim<'_>,
        exchange: &Rc<Exchange>,
    ) -> Result<Response<Body>, Failure> {
        let (origin, framing, rule) = (self.origin, self.framing, self.matched.rule);
        let (mut parts, body) = request.into_parts();
        accept::rewrite_fields(&self.hop, framing, &mut parts);
        let context = filter::Context {
            scheme: origin.scheme,
            host: &self.hop.host.name,
            port: origin.port(),
            matched_prefix: self.matched.matched_prefix,
        };
        if let Some(direct) = filter::request(&rule.filters, &mut parts, &context) {
            return Ok(answer_directly(direct, &rule.filters, exchange));
        }
        let identity = self.listener.backend_certificate.as_ref();
        let copies = |filters: &[filter::Filter], parts: &Parts| {
            mirror::of(filters, parts, identity, self.configuration)
        };
        let mut mirrored = copies(&rule.filters, &parts);
        let Chosen { backend, filters } = forward::choose(rule)?;
        if let Some(direct) = filter::request(filters, &mut parts, &context) {
            return Ok(answer_directly(direct, filters, exchange));
        }
        mirrored.extend(copies(filters, &parts));
        exchange.inject_trace(&mut parts.headers);

        let limits = &self.listener.limits;
        // What comes after an upgrade is no content.
        let (body, client) = match framing.upgrade {
            Some(_) => (Body::Empty, body),
            None => (body, Body::Empty),
        };
        let content = exchange.request_body(body, framing.content_length, limits);
        let outgoing = Outgoing {
            request: Box::new(Request::from_parts(parts, content)),
            framing,
            mirrored,
        };
        let upstream = Upstream {
            to: Destination {
                backend,
                identity,
                endpoints: self.configuration.endpoints.of(&backend.id),
            },
            timeout: rule.backend_request_timeout,
            retry: rule.retry.as_ref(),
        };
        let mut response = match self.framing.upgrade {
            Some(_) if backend.protocol != BackendProtocol::Http2 => {
                let idle = limits.body_idle_timeout;
                let upgrade = forward::upgrade(origin, outgoing, upstream, exchange, client, idle);
                Box::pin(upgrade).await?
            }
            // HTTP/2 has no Upgrade, and WebSocket without it is nothing.
            Some(Upgrade::WebSocket | Upgrade::Extended) => return Err(Failure::NotImplemented),
            _ => forward::forward(origin, outgoing, upstream, interim, exchange).await?,
        };
        filter::response(&rule.filters, response.headers_mut());
        filter::response(filters, response.headers_mut());
        Ok(response)
    }
}

/// A filter answers: a redirect.
fn answer_directly(
    response: Response<()>,
    filters: &[filter::Filter],
    exchange: &Exchange,
) -> Response<Body> {
    exchange.answered(response.status());
    let mut response = response.map(|()| Body::Empty);
    filter::response(filters, response.headers_mut());
    response
}

/// RFC 7838: clients on TCP learn of HTTP/3, and only while it is there to be used.
fn advertise_http3(origin: &Origin, configuration: &Configuration, headers: &mut http::HeaderMap) {
    let over_tls = origin.transport == Transport::Tcp && origin.scheme == Scheme::Https;
    if !over_tls || !origin.shard.quic_up(&origin.binding) {
        return;
    }
    let binding = configuration.snapshot.binding(&origin.binding);
    let listener = binding.and_then(|binding| match &origin.server_name {
        Some(name) => binding
            .listener_for(name)
            .and_then(|listener| listener.http3.as_ref()),
        None => binding.http3(),
    });
    if let Some(http3) = listener {
        headers.insert(header::ALT_SVC, http3.alt_svc.clone());
    }
}

#[cfg(test)]
mod tests;
