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

use http::{Method, Request, Response, Version, header};

pub use self::body::{Body, BodyError};
use self::{exchange::Exchange, failure::Failure};
use crate::{
    filter, path,
    shard::Shard,
    snapshot::{BindingKey, Configuration, Scheme},
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
    let answer = answer(origin, &configuration, request, interim, &exchange).await;
    let mut response = answer.unwrap_or_else(|failure| {
        exchange.failed(failure);
        failure.response(is_head)
    });
    advertise_http3(origin, &configuration, response.headers_mut());
    response
}

async fn answer(
    origin: &Origin,
    configuration: &Configuration,
    request: Request<Body>,
    interim: Interim<'_>,
    exchange: &Rc<Exchange>,
) -> Result<Response<Body>, Failure> {
    let accepted = accept::accept(origin, configuration, &request)?;
    let (mut parts, body) = request.into_parts();
    let path = path::canonical(parts.uri.path()).map_err(accept::refused_path)?;
    let matched = accepted
        .listener
        .routes
        .find(
            &accepted.host.name,
            &parts.method,
            &path,
            parts.uri.query(),
            &parts.headers,
        )
        .ok_or(Failure::NoRoute)?;
    exchange.routed(&matched.route.id, matched.rule.request_timeout);

    let target = accept::target(&parts.uri, &path)?;
    parts.uri = target;
    let received = parts.version;
    accepted.rewrite_fields(origin, &mut parts.headers, received);
    let context = filter::Context {
        scheme: origin.scheme,
        host: &accepted.host.name,
        port: if origin.binding.port == 0 {
            origin.local.port()
        } else {
            origin.binding.port
        },
        matched_prefix: matched.matched_prefix,
    };
    if let Some(direct) = filter::request(&matched.rule.filters, &mut parts, &context) {
        return Ok(finish_direct(direct, &matched.rule.filters, exchange));
    }
    let backend = forward::choose(matched.rule)?;
    if let Some(direct) = filter::request(backend.filters, &mut parts, &context) {
        return Ok(finish_direct(direct, backend.filters, exchange));
    }
    exchange.inject_trace(&mut parts.headers);

    let upload = exchange.request_body(
        body,
        accepted.framing.content_length,
        &accepted.listener.limits,
    );
    let request = forward::Outgoing {
        parts,
        upload,
        framing: accepted.framing,
    };
    let upstream = forward::Upstream {
        backend: backend.backend,
        endpoints: configuration.endpoints.of(&backend.backend.id),
        timeout: matched.rule.backend_request_timeout,
    };
    let (mut head, content, lease) =
        forward::forward(origin, request, upstream, interim, exchange).await?;
    filter::response(&matched.rule.filters, &mut head.headers);
    filter::response(backend.filters, &mut head.headers);
    exchange.answered(head.status);
    let body = exchange::ResponseBody::new(content, exchange.clone(), lease);
    Ok(Response::from_parts(head, Body::Upstream(body)))
}

/// A filter answers: a redirect.
fn finish_direct(
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

/// Responses are written in the client's version, whatever the upstream spoke.
const CLIENT_DECIDES: Version = Version::HTTP_11;

#[cfg(test)]
mod tests;
