//! Where requests go, except for the addresses.

use std::{collections::HashMap, sync::Arc, time::Duration};

use boring::x509::X509;
use tidegate_proto::v1;

use super::{
    limits::milliseconds,
    problems::{Object, Problems},
};
use crate::route::HostPattern;

/// A backend that routes name. Its addresses are in [`Endpoints`](super::Endpoints).
#[derive(Debug)]
pub struct Backend {
    /// `namespace/service:port`.
    pub id: Arc<str>,
    pub protocol: BackendProtocol,
    /// `None`: cleartext.
    pub tls: Option<BackendTls>,
    pub connect_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendProtocol {
    /// HTTP/1.1 in cleartext; over TLS what ALPN chooses.
    Auto,
    Http1,
    /// With prior knowledge in cleartext; by ALPN over TLS.
    Http2,
}

/// TLS to the backend.
#[derive(Debug)]
pub struct BackendTls {
    /// Sent as SNI, and the name that the certificate must have, unless others are given.
    pub server_name: String,
    /// Whom to trust. Empty: the system's authorities.
    pub ca: Vec<X509>,
    /// One of them must be in the certificate, and `server_name` need not. Empty: it must.
    pub subject_alt_names: Vec<SubjectAltName>,
}

/// A name in a certificate (RFC 5280 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectAltName {
    /// Lower case. With a wildcard, it is that very name.
    Dns(String),
    Uri(String),
}

/// Every id that there is; `None` where it was refused, which is reported once only.
pub(super) type Backends = HashMap<Arc<str>, Option<Arc<Backend>>>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn parse_all(wire: Vec<v1::Backend>, problems: &mut Problems) -> Backends {
    let mut parsed = Backends::new();
    for backend in wire {
        let id: Arc<str> = backend.id.as_str().into();
        let mut object = problems.of(&id);
        if id.is_empty() {
            object.refuse("id", "a backend has no id; name it namespace/service:port");
        }
        if parsed.contains_key(&id) {
            object.refuse("id", "two backends have this id; remove one");
        }
        let value = parse(backend, &id, &mut object).map(Arc::new);
        parsed.insert(id, value);
    }
    parsed
}

fn parse(wire: v1::Backend, id: &Arc<str>, object: &mut Object<'_>) -> Option<Backend> {
    let protocol = match v1::BackendProtocol::try_from(wire.protocol) {
        Ok(v1::BackendProtocol::Unspecified) => Ok(BackendProtocol::Auto),
        Ok(v1::BackendProtocol::Http1) => Ok(BackendProtocol::Http1),
        Ok(v1::BackendProtocol::Http2) => Ok(BackendProtocol::Http2),
        Err(_) => Err(format!(
            "{} is none that is known; use HTTP1 or HTTP2",
            wire.protocol
        )),
    };
    let protocol = object.accept("protocol", protocol);
    let timeout = milliseconds(
        object,
        "connect_timeout_ms",
        wire.connect_timeout_ms,
        CONNECT_TIMEOUT,
    );
    let tls = match wire.tls {
        Some(tls) => Some(parse_tls(tls, object)?),
        None => None,
    };
    Some(Backend {
        id: id.clone(),
        protocol: protocol?,
        tls,
        connect_timeout: timeout?,
    })
}

fn parse_tls(wire: v1::BackendTls, object: &mut Object<'_>) -> Option<BackendTls> {
    let name = match wire.server_name.parse() {
        Ok(HostPattern::Exact(name)) => Ok(name.to_string()),
        Ok(_) => Err(format!(
            "`{}` is no single name; give the certificate's",
            wire.server_name
        )),
        Err(error) => Err(error.to_string()),
    };
    let name = object.accept("tls.server_name", name);
    // An unreadable bundle must not turn into trust in the system's authorities.
    let ca = X509::stack_from_pem(&wire.ca_pem).unwrap_or_default();
    if ca.is_empty() && !wire.ca_pem.is_empty() {
        let message = "has no readable certificate; give PEM, or leave it out for the system's";
        object.refuse("tls.ca_pem", message);
        return None;
    }
    let names: Vec<_> = wire
        .subject_alt_names
        .into_iter()
        .enumerate()
        .filter_map(|(index, name)| {
            let field = format!("tls.subject_alt_names[{index}]");
            object.accept(field, subject_alt_name(name))
        })
        .collect();
    Some(BackendTls {
        server_name: name?,
        ca,
        subject_alt_names: names,
    })
}

/// A name that was refused must not leave the list empty: the snapshot is refused with it.
fn subject_alt_name(wire: v1::SubjectAltName) -> Result<SubjectAltName, String> {
    use v1::subject_alt_name::Kind;
    match wire.kind {
        Some(Kind::Dns(name)) => match name.parse() {
            Ok(HostPattern::Any) => Err("is empty; give a DNS name or a URI".to_owned()),
            Ok(pattern) => Ok(SubjectAltName::Dns(pattern.to_string())),
            Err(error) => Err(error.to_string()),
        },
        Some(Kind::Uri(uri)) if !uri.is_empty() => Ok(SubjectAltName::Uri(uri)),
        _ => Err("is empty; give a DNS name or a URI".to_owned()),
    }
}
