//! From HTTP/3 field lines to a request's head, and from a response's head to field lines
//! (RFC 9114 4.2, 4.3).
//!
//! What makes a message malformed for every version is checked in
//! [`fields`](crate::proxy::fields); here is what only HTTP/3 can get wrong.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header, uri};
use hyper::ext::Protocol;
use quiche::h3::NameValue;

/// A request's head, or `None` if the request is malformed.
pub(crate) fn request<H: NameValue>(list: &[H]) -> Option<Request<()>> {
    let mut pseudo = Pseudo::default();
    let fields = list.iter().filter(|line| !line.name().starts_with(b":"));
    let mut headers = HeaderMap::with_capacity(fields.count() + ADDED);
    for (name, value) in shared(list) {
        if let Some(name) = name.strip_prefix(b":") {
            // RFC 9114 4.3: before all others.
            if !headers.is_empty() {
                return None;
            }
            pseudo.set(name, value)?;
        } else {
            append(&mut headers, name, value)?;
        }
    }
    join_cookies(&mut headers);
    let mut request = Request::new(());
    *request.version_mut() = Version::HTTP_3;
    let protocol = pseudo.protocol.take();
    *request.method_mut() = Method::from_bytes(pseudo.method.as_deref()?).ok()?;
    let has_host = headers.contains_key(header::HOST);
    *request.uri_mut() = pseudo.uri(request.method(), protocol.is_some(), has_host)?;
    if let Some(protocol) = protocol {
        // RFC 9220 3: others would be refused just the same.
        let known = if &*protocol == b"websocket" {
            "websocket"
        } else {
            "unknown"
        };
        request
            .extensions_mut()
            .insert(Protocol::from_static(known));
    }
    *request.headers_mut() = headers;
    Some(request)
}

/// A trailer section, or `None` if it is malformed.
pub(crate) fn trailers<H: NameValue>(list: &[H]) -> Option<HeaderMap> {
    let mut trailers = HeaderMap::with_capacity(list.len());
    for (name, value) in shared(list) {
        append(&mut trailers, name, value)?;
    }
    Some(trailers)
}

/// Names, and values that are parts of one buffer: to copy them allocates nothing.
fn shared<H: NameValue>(list: &[H]) -> impl Iterator<Item = (&[u8], Bytes)> {
    let len = list.iter().map(|field| field.value().len()).sum();
    let mut values = BytesMut::with_capacity(len);
    for field in list {
        values.extend_from_slice(field.value());
    }
    let mut values = values.freeze();
    list.iter()
        .map(move |field| (field.name(), values.split_to(field.value().len())))
}

/// Field lines of a response or of trailers, borrowed.
pub(crate) fn lines<'a>(status: Option<&'a str>, headers: &'a HeaderMap) -> Vec<Line<'a>> {
    let status = status.map(|status| Line(b":status", status.as_bytes()));
    let fields = headers
        .iter()
        .map(|(name, value)| Line(name.as_str().as_bytes(), value.as_bytes()));
    status.into_iter().chain(fields).collect()
}

/// A borrowed field line.
pub(crate) struct Line<'a>(&'a [u8], &'a [u8]);

impl NameValue for Line<'_> {
    fn name(&self) -> &[u8] {
        self.0
    }

    fn value(&self) -> &[u8] {
        self.1
    }
}

#[derive(Default)]
struct Pseudo {
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    protocol: Option<Bytes>,
}

impl Pseudo {
    /// `None` for one that is unknown or repeated.
    fn set(&mut self, name: &[u8], value: Bytes) -> Option<()> {
        let field = match name {
            b"method" => &mut self.method,
            b"scheme" => &mut self.scheme,
            b"authority" => &mut self.authority,
            b"path" => &mut self.path,
            b"protocol" => &mut self.protocol,
            _ => return None,
        };
        field.replace(value).is_none().then_some(())
    }

    fn uri(self, method: &Method, has_protocol: bool, has_host: bool) -> Option<Uri> {
        let mut parts = uri::Parts::default();
        if let Some(authority) = self.authority {
            parts.authority = Some(uri::Authority::from_maybe_shared(authority).ok()?);
        }
        if has_protocol && method != Method::CONNECT {
            return None;
        }
        if method == Method::CONNECT && !has_protocol {
            // RFC 9114 4.4.
            let alone = self.scheme.is_none() && self.path.is_none();
            return Uri::from_parts(parts)
                .ok()
                .filter(|uri| alone && uri.authority().is_some());
        }
        let path = self.path?;
        let asterisk = &*path == b"*" && method == Method::OPTIONS;
        if !path.starts_with(b"/") && !asterisk {
            return None;
        }
        let scheme = uri::Scheme::try_from(&*self.scheme?).ok()?;
        // RFC 9114 4.3.1: http and https have one.
        if parts.authority.is_none() && !has_host {
            return None;
        }
        parts.path_and_query = Some(uri::PathAndQuery::from_maybe_shared(path).ok()?);
        // Without `:authority` there is Host, and the form is that of HTTP/1.1.
        if parts.authority.is_some() {
            parts.scheme = Some(scheme);
        }
        Uri::from_parts(parts).ok()
    }
}

/// Adds a field whose name is in lower case and no pseudo-header.
fn append(headers: &mut HeaderMap, name: &[u8], value: Bytes) -> Option<()> {
    if name.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let name = HeaderName::from_bytes(name).ok()?;
    headers
        .try_append(name, HeaderValue::from_maybe_shared(value).ok()?)
        .ok()?;
    Some(())
}

/// RFC 9114 4.2.1: crumbs become one field before they go where that is expected. So many
/// that they were meant to be many are left, to be refused for their number.
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs = headers.get_all(header::COOKIE).iter().count();
    if !(2..=MAX_CRUMBS).contains(&crumbs) {
        return;
    }
    let crumbs: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, cookie);
    }
}

const MAX_CRUMBS: usize = 100;
/// Fields that the gateway adds to a usual request, so that the map need not grow for them:
/// Host, Via, and what upstreams are told of the client.
const ADDED: usize = 7;

#[cfg(test)]
mod tests;
