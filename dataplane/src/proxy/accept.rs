//! Whose request it is, and whether it may go any further.
//!
//! Everything that can be said of a request from its head and its connection, before any
//! route is looked for. Never changes a request, except for the fields that speak of the
//! client's connection ([`rewrite_fields`]).

use std::rc::Rc;

use http::{HeaderValue, Method, Request, Uri, header, request::Parts, uri::PathAndQuery};
use hyper::ext::Protocol;

use super::{
    Origin,
    authority::Host,
    failure::Failure,
    fields::{self, Framing, Upgrade},
    forwarded::{self, Hop},
};
use crate::{
    path::Rejected,
    snapshot::{Binding, Configuration, Listener},
    tls::Terms,
};

/// A request that is well formed and has a listener.
pub(super) struct Accepted<'a> {
    pub(super) listener: &'a Listener,
    pub(super) hop: Rc<Hop>,
    pub(super) framing: Framing,
}

/// Finds the listener of a request and checks the head against its limits.
pub(super) fn accept<'a, B>(
    origin: &Origin,
    configuration: &'a Configuration,
    request: &Request<B>,
) -> Result<Accepted<'a>, Failure> {
    let extended = is_extended_connect(request);
    if request.method() == Method::CONNECT && !extended {
        return Err(Failure::NotImplemented);
    }
    let hop = origin.hop(request)?;
    // The newest configuration may have no such binding; its connections still drain.
    let binding = configuration
        .snapshot
        .binding(&origin.binding)
        .ok_or(Failure::NoRoute)?;
    let listener = listener(binding, origin.server_name.as_deref(), &hop.host.name)?;
    let terms = origin.terms.as_deref();
    if !may_come_over(listener, terms) {
        return Err(Failure::Misdirected);
    }
    if !listener.admission.admits(origin.peer().ip().to_canonical()) {
        return Err(Failure::Forbidden);
    }
    let mut framing = fields::check(request.version(), request.headers(), &listener.limits)?;
    if extended {
        framing.upgrade = Some(Upgrade::Extended);
    }
    Ok(Accepted {
        listener,
        hop,
        framing,
    })
}

/// The listener that serves the host. The connection was admitted by the server name's
/// listener, with its certificate: another one's requests do not belong on it.
fn listener<'a>(
    binding: &'a Binding,
    server_name: Option<&str>,
    host: &str,
) -> Result<&'a Listener, Failure> {
    let listener = binding.listener_for(host).ok_or(Failure::NoRoute)?;
    if let Some(name) = server_name
        && name != host
        && !binding
            .listener_for(name)
            .is_some_and(|named| std::ptr::eq(&**named, &**listener))
    {
        return Err(Failure::Misdirected);
    }
    Ok(listener)
}

/// Whether a connection under these terms has shown what the listener wants clients to show.
fn may_come_over(listener: &Listener, terms: Option<&Terms>) -> bool {
    match terms {
        Some(terms) => terms.suffice_for(listener),
        None => listener.client_validation.is_none(),
    }
}

/// Only WebSocket is served so (RFC 8441 5).
pub(crate) fn is_extended_connect<B>(request: &Request<B>) -> bool {
    let protocol = request.extensions().get::<Protocol>();
    request.method() == Method::CONNECT
        && protocol.is_some_and(|protocol| protocol.as_str() == WEBSOCKET)
}

/// Gives a request the form that it has in HTTP/1.1, for rules and for upstreams.
pub(crate) fn normalize<B>(host: &Host, framing: Framing, request: &mut Request<B>) {
    let headers = request.headers_mut();
    headers.insert(header::HOST, host.value.clone());
    if framing.upgrade != Some(Upgrade::Extended) {
        return;
    }
    headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
    // RFC 8441 5.1: a stream needs no key, but HTTP/1.1 does. Base64 is visible ASCII.
    let key = boring::base64::encode_block(&rand::random::<[u8; 16]>());
    if let Ok(key) = HeaderValue::try_from(key) {
        headers.insert(header::SEC_WEBSOCKET_KEY, key);
    }
    *request.method_mut() = Method::GET;
}

/// Takes out of the fields what was for this connection, or is not the client's to say,
/// and puts in what upstreams are to know.
pub(crate) fn rewrite_fields(hop: &Hop, framing: Framing, parts: &mut Parts) {
    let headers = &mut parts.headers;
    let upgrade = headers.remove(header::UPGRADE);
    fields::strip_hop_by_hop(headers);
    if let Some(upgrade) = upgrade.filter(|_| framing.upgrade.is_some()) {
        headers.insert(header::UPGRADE, upgrade);
    }
    headers.remove(header::EXPECT);
    if let Some(length) = framing.content_length
        && let Some(value) = headers.get_mut(header::CONTENT_LENGTH)
        && value.as_bytes().starts_with(b"0")
    {
        // With zeros in front some would read it as octal.
        *value = length.into();
    }
    if framing.te_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    forwarded::set(headers, hop);
    forwarded::append_via(headers, parts.version);
}

/// The origin form of the target, with the path that was matched.
pub(crate) fn target(uri: &Uri, path: &str) -> Result<Uri, Failure> {
    let unchanged = path == uri.path();
    if unchanged && uri.authority().is_none() {
        return Ok(uri.clone());
    }
    let whole = match (uri.path_and_query(), uri.query()) {
        // One that is empty, for there was only a fragment, says that it is this one as well.
        (_, None) if path == "/" => Ok(PathAndQuery::from_static("/")),
        (Some(whole), _) if unchanged && path != "/" => Ok(whole.clone()),
        (_, Some(query)) => PathAndQuery::try_from(format!("{path}?{query}")),
        (_, None) => PathAndQuery::try_from(path),
    };
    whole
        .map(Uri::from)
        .map_err(|_| Failure::Malformed("The target is no valid path."))
}

pub(super) fn refused_path(rejected: Rejected) -> Failure {
    tracing::debug!(reason = rejected.as_str(), "path refused");
    Failure::Malformed("The path has no unambiguous form.")
}

const WEBSOCKET: &str = "websocket";
