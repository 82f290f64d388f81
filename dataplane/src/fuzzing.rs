//! The doors of the fuzz targets (`tests/fuzz`) to what is private. Only in builds with debug
//! assertions, so in no binary that is shipped.

use std::net::{Ipv4Addr, SocketAddr};

use boring::error::ErrorStack;

use http::{HeaderMap, Method, Request, response};
use quiche::h3::{self, NameValue};
use rand::Rng;

use crate::{
    filter::{self, Filter},
    path,
    proxy::{accept, authority, fields, forward, forwarded::Hop, h3 as http3, upstream},
    quic::{endpoint::Endpoint, initial, udp::UdpSocket},
    route::oracle,
    snapshot::{HttpLimits, Scheme},
};

/// The head of a request that came as these field lines of HTTP/3.
pub fn request_head(lines: &[h3::Header]) -> Option<Request<()>> {
    http3::head::request(lines)
}

/// A trailer section that may go on to an upstream.
pub fn trailers(lines: &[h3::Header]) -> Option<HeaderMap> {
    let trailers = http3::head::trailers(lines)?;
    fields::trailers_may_pass(&trailers, &HttpLimits::default()).then_some(trailers)
}

/// The field lines of HTTP/3 that a client is sent for the head of an upstream's response, by a
/// rule with these filters. `None`: it cannot be passed on.
pub fn response_head(mut head: response::Parts, filters: &[Filter]) -> Option<Vec<h3::Header>> {
    forward::for_client(&mut head).ok()?;
    filter::response(filters, &mut head.headers);
    let status = Some(head.status.as_str());
    Some(owned(&http3::head::lines(status, &head.headers)))
}

/// The field lines that it is sent for the trailers.
pub fn response_trailers(mut trailers: HeaderMap) -> Vec<h3::Header> {
    fields::clean_response(&mut trailers);
    owned(&http3::head::lines(None, &trailers))
}

fn owned<L: NameValue>(lines: &[L]) -> Vec<h3::Header> {
    let owned = |line: &L| h3::Header::new(line.name(), line.value());
    lines.iter().map(owned).collect()
}

/// The settings that clients are sent.
pub fn http3_settings() -> h3::Result<h3::Config> {
    http3::settings()
}

/// What becomes of a request on its way to an upstream of HTTP/1.1, where nothing but its
/// own head decides: that head, and the length of its content.
pub fn upstream_request(mut request: Request<()>) -> Option<(Request<()>, Option<u64>)> {
    let extended = accept::is_extended_connect(&request);
    if request.method() == Method::CONNECT && !extended {
        return None;
    }
    let host = authority::of(&request, Scheme::Https).ok()?;
    let limits = HttpLimits::default();
    let mut framing = fields::check(request.version(), request.headers(), &limits).ok()?;
    if extended {
        framing.upgrade = Some(fields::Upgrade::Extended);
    }
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000));
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 443));
    let hop = Hop::new(peer, local, Scheme::Https.as_str(), host);
    accept::normalize(&hop.host, framing, &mut request);
    let path = path::canonical(request.uri().path()).ok()?;
    *request.uri_mut() = accept::target(request.uri(), &path).ok()?;
    let (mut parts, ()) = request.into_parts();
    accept::rewrite_fields(&hop, framing, &mut parts);
    let mut request = Request::from_parts(parts, ());
    upstream::write_for_http1(&mut request);
    Some((request, framing.content_length))
}

/// Holds the route table against a search that tries everything.
pub fn routes_agree(choices: &mut impl Rng) {
    oracle::round(choices, 8, &mut oracle::Tally::default());
}

/// A client's Initial packet with whatever frames, protected as RFC 9001 5.2 says.
///
/// # Errors
/// When BoringSSL cannot.
pub fn initial_packet(
    dcid: &[u8],
    source: &[u8],
    number: u16,
    frames: &[u8],
) -> Result<Vec<u8>, ErrorStack> {
    initial::of_client(dcid, source, number, frames)
}

/// Where a socket is bound.
pub fn bound(socket: &UdpSocket) -> SocketAddr {
    socket.local()
}

/// Takes the datagrams that wait to be sent: from where, to whom, and what.
pub fn take_sent(endpoint: &Endpoint, mut each: impl FnMut(SocketAddr, SocketAddr, &[u8])) {
    for socket in &endpoint.sockets {
        socket.take(&mut each);
    }
}

/// Handshakes that are half open, the prefixes that they come from, and those that wait.
pub fn half_open(endpoint: &Endpoint) -> (usize, usize, usize) {
    let (handshakes, prefixes) = endpoint.tables.half_open.borrow().sizes();
    (handshakes, prefixes, endpoint.tables.turnstile.waiting())
}
