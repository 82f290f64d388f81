//! Clients of other stacks: quinn with h3 for HTTP/3, hyper for HTTP/1.1 and HTTP/2, and
//! h3i for frames that an honest client never sends.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use rustls::ClientConfig;
use serde_json::Value;

mod attack;
mod cancel;
mod ech;
mod h3;
pub mod raw;
mod tcp;

pub use attack::{
    HostileRun, attack, attack_bare, data_frame, fields, request_fields, stream_bytes,
};
pub use cancel::{Cancel, Revocable};
pub use h3::{Download, H3};
pub use tcp::{Tcp, Wire};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Where to connect, and as whom to know the server.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub server_name: String,
    /// Absent: cleartext. Clones share session tickets.
    pub tls: Option<Arc<ClientConfig>>,
}

/// A response that was read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("no JSON ({error}): {self:?}"),
        }
    }

    /// A header of the response, or "".
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Values of a header that the describing upstream received, in order.
    #[track_caller]
    pub fn upstream_header(&self, name: &str) -> Vec<String> {
        let json = self.json();
        let headers = json["headers"]
            .as_array()
            .expect("the upstream describes the request");
        (headers.iter())
            .filter(|header| header[0] == name)
            .map(|header| header[1].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}

impl Target {
    /// A request for a path of this server, over HTTP/3, HTTP/2 or HTTP/1.1 alike.
    pub fn request(&self, method: &str, path: &str) -> Request<()> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Request::builder()
            .method(method)
            .uri(format!(
                "{scheme}://{}:{}{path}",
                self.server_name,
                self.address.port()
            ))
            .body(())
            .expect("tests write valid requests")
    }

    pub fn named(&self, server_name: &str) -> Self {
        Self {
            server_name: server_name.to_owned(),
            ..self.clone()
        }
    }

    pub fn at(&self, address: SocketAddr) -> Self {
        Self {
            address,
            ..self.clone()
        }
    }

    /// Other ALPN protocols, and no tickets shared with `self`.
    pub fn with_alpn(&self, alpn: &[&str]) -> Option<Arc<ClientConfig>> {
        let mut config = ClientConfig::clone(self.tls.as_ref()?);
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Some(Arc::new(config))
    }
}

pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub fn body_of(data: impl Into<Bytes>) -> Body {
    Full::new(data.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub fn stream_body(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece)))).boxed_unsync()
}

/// Adds header fields to a request.
pub(crate) fn add_headers(headers: &mut HeaderMap, fields: &[(&str, &str)]) {
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("tests write valid names");
        headers.append(
            name,
            HeaderValue::from_str(value).expect("tests write valid values"),
        );
    }
}
