//! Heads of requests as hyper gives them to the gateway, or makes what is odder still.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, uri};
use hyper::ext::Protocol;
use quiche::h3::{Header, NameValue as _};

/// The head that these lines are in a version before HTTP/3. In HTTP/1.1, `:path` is the whole
/// target, in whatever form.
pub(super) fn of(version: Version, lines: &[Header]) -> Option<Request<()>> {
    let pseudo = |name: &[u8]| {
        let line = lines.iter().find(|line| line.name() == name);
        line.map(|line| line.value())
    };
    let mut request = Request::new(());
    *request.version_mut() = version;
    *request.method_mut() = Method::from_bytes(pseudo(b":method")?).ok()?;
    *request.headers_mut() = fields(lines)?;
    if version < Version::HTTP_2 {
        // RFC 9112 5.1: hyper leaves out what is around a value.
        for value in request.headers_mut().values_mut() {
            *value = HeaderValue::from_bytes(value.as_bytes().trim_ascii()).ok()?;
        }
        *request.uri_mut() = Uri::try_from(pseudo(b":path")?).ok()?;
        return Some(request);
    }
    let mut parts = uri::Parts::default();
    parts.scheme = pseudo(b":scheme").and_then(|it| it.try_into().ok());
    parts.authority = pseudo(b":authority").and_then(|it| it.try_into().ok());
    parts.path_and_query = pseudo(b":path").and_then(|it| it.try_into().ok());
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    if let Some(protocol) = pseudo(b":protocol") {
        let known = match protocol {
            b"websocket" => "websocket",
            _ => "unknown",
        };
        request
            .extensions_mut()
            .insert(Protocol::from_static(known));
    }
    Some(request)
}

/// Names in whatever case.
pub(crate) fn fields(lines: &[Header]) -> Option<HeaderMap> {
    let mut fields = HeaderMap::new();
    for line in lines.iter().filter(|line| !line.name().starts_with(b":")) {
        let name = HeaderName::from_bytes(line.name()).ok()?;
        fields.append(name, HeaderValue::from_bytes(line.value()).ok()?);
    }
    Some(fields)
}
