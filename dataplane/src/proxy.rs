//! The way of a request: the same for HTTP/1.1, HTTP/2 and HTTP/3.
//!
//! Owns [`serve`], which every front-end calls ([`tcp`] for HTTP/1.1 and HTTP/2, [`h3`] for
//! HTTP/3), and the rules that all three share, so that they give the same verdict. Never
//! keeps state between requests: that is in the shard, and upstream connections in
//! [`upstream`].
//!
//! A request goes through `accept` (whose is it, and is it well formed), the route table,
//! the filters and `forward`; an `exchange` accompanies both bodies to their ends.

mod accept;
mod authority;
pub mod body;
mod exchange;
mod failure;
mod fields;
mod forward;
mod forwarded;
pub mod h3;
mod interim;
mod local;
mod pause;
pub mod tcp;
pub mod upstream;
mod wire;

use std::{cell::Cell, net::SocketAddr, rc::Rc};

use http::{HeaderValue, Method, Request, Response, Version, header};

pub use self::body::{Body, BodyError};
use self::{
    accept::Accepted,
    exchange::Exchange,
    failure::Failure,
    forward::{Chosen, Outgoing, Upstream},
};
use crate::{
    filter, path,
    route::Matched,
    shard::Shard,
    snapshot::{BindingKey, Configuration, HttpLimits, Scheme},
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
    peer: Cell<SocketAddr>,
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
            peer,
        }
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

    /// One of the limits of this connection's requests: those of the binding's first
    /// listener, as they are before a request has named its host.
    fn limits<T>(&self, choose: impl Fn(&HttpLimits) -> T) -> T {
        let configuration = self.shard.configuration();
        match configuration.snapshot.binding(&self.binding) {
            Some(binding) => choose(&binding.listeners[0].limits),
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
}

/// Takes the 1xx heads that an upstream sends before its response.
pub type Interim<'a> = &'a dyn Fn(Response<()>);

/// Answers a request. Never fails: what goes wrong is a response.
///
/// Dropping the future cancels the upstream request, and so does dropping the response's
/// body before its end. The request's body is dropped as soon as nobody wants more of it,
/// which may be long after the response's head is there.
pub async fn serve(
    origin: &Origin,
    request: Request<Body>,
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
    let is_head = method == Method::HEAD;
    let may_close = request.version() < Version::HTTP_2;
    let answer = answer(origin, &configuration, request, interim, &exchange).await;
    let mut response = answer.unwrap_or_else(|failure| {
        exchange.failed(failure);
        let mut response = failure.response(is_head);
        // RFC 9112 6.3: where the message's end is in doubt, so is the next one's begin.
        if may_close && failure.is_about_framing() {
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    });
    advertise_http3(origin, &configuration, response.headers_mut());
    response
}

/// Up to the backend: whose request it is, what becomes of it, and where it goes.
async fn answer(
    origin: &Origin,
    configuration: &Configuration,
    request: Request<Body>,
    interim: Interim<'_>,
    exchange: &Rc<Exchange>,
) -> Result<Response<Body>, Failure> {
    let Accepted {
        listener,
        host,
        framing,
    } = accept::accept(origin, configuration, &request)?;
    let (mut parts, body) = request.into_parts();
    let path = path::canonical(parts.uri.path()).map_err(accept::refused_path)?;
    let (method, query) = (&parts.method, parts.uri.query());
    let found = listener
        .routes
        .find(&host.name, method, &path, query, &parts.headers);
    let Matched {
        route,
        rule,
        matched_prefix,
    } = found.ok_or(Failure::NoRoute)?;
    exchange.routed(&route.id, rule.request_timeout);

    parts.uri = accept::target(&parts.uri, &path)?;
    accept::rewrite_fields(origin, &host, framing, &mut parts);
    let context = filter::Context {
        scheme: origin.scheme,
        host: &host.name,
        port: origin.port(),
        matched_prefix,
    };
    if let Some(direct) = filter::request(&rule.filters, &mut parts, &context) {
        return Ok(answer_directly(direct, &rule.filters, exchange));
    }
    let Chosen { backend, filters } = forward::choose(rule)?;
    if let Some(direct) = filter::request(filters, &mut parts, &context) {
        return Ok(answer_directly(direct, filters, exchange));
    }
    exchange.inject_trace(&mut parts.headers);

    let content = exchange.request_body(body, framing.content_length, &listener.limits);
    let outgoing = Outgoing {
        parts,
        content,
        framing,
    };
    let upstream = Upstream {
        backend,
        identity: listener.backend_certificate.as_ref(),
        endpoints: configuration.endpoints.of(&backend.id),
        timeout: rule.backend_request_timeout,
    };
    let mut response = forward::forward(origin, outgoing, upstream, interim, exchange).await?;
    filter::response(&rule.filters, response.headers_mut());
    filter::response(filters, response.headers_mut());
    Ok(response)
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
