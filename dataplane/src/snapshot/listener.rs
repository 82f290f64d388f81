//! One listener: whose requests it takes, and how.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use http::HeaderValue;
use tidegate_proto::v1;

use super::{
    admission::{self, Admission},
    binding::{BindingKey, Scheme},
    certificate::{Certificate, Certificates},
    client_validation::{self, ClientValidation},
    ech::{self, EchKey},
    limits::{self, HttpLimits},
    problems::{Object, Problems},
    transport::{self, QuicTransport},
};
use crate::route::{HostPattern, RouteTable};

/// A listener with its own certificates, settings and routes.
#[derive(Debug)]
pub struct Listener {
    /// `namespace/gateway/listener`.
    pub id: Arc<str>,
    pub hostname: HostPattern,
    /// In order of preference. Empty with HTTP only.
    pub certificates: Vec<Arc<Certificate>>,
    /// `None`: clients are not asked for certificates.
    pub client_validation: Option<ClientValidation>,
    /// For the whole port. Empty: it brings none.
    pub ech_keys: Vec<EchKey>,
    /// `None`: HTTP/3 is off.
    pub http3: Option<Http3>,
    pub quic: Arc<QuicTransport>,
    pub admission: Admission,
    pub limits: HttpLimits,
    /// Shown to backends over TLS that ask for a certificate.
    pub backend_certificate: Option<Arc<Certificate>>,
    pub routes: RouteTable,
}

/// HTTP/3 is on, and this is how TCP clients learn of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http3 {
    /// UDP port that clients see.
    pub advertised_port: u16,
    /// RFC 7838: `h3=":8443"; ma=86400`.
    pub alt_svc: HeaderValue,
}

impl Http3 {
    /// `max_age` in seconds.
    pub fn new(advertised_port: u16, max_age: u32) -> Self {
        let alt_svc = format!("h3=\":{advertised_port}\"; ma={max_age}");
        let alt_svc = HeaderValue::try_from(alt_svc).expect("digits and punctuation");
        Self {
            advertised_port,
            alt_svc,
        }
    }
}

/// What is known of a listener from the wire. `None` after a rejection.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) key: Option<BindingKey>,
    pub(super) scheme: Option<Scheme>,
    pub(super) hostname: Option<HostPattern>,
    pub(super) listener: Option<Listener>,
}

pub(super) fn parse(
    wire: &v1::Listener,
    routes: RouteTable,
    certificates: &Certificates,
    problems: &mut Problems,
) -> Parsed {
    let mut object = problems.of(&wire.id);
    let key = binding_key(wire, &mut object);
    let scheme = scheme(wire, &mut object);
    let hostname = object.accept("hostname", wire.hostname.parse::<HostPattern>());
    let backend_certificate = backend_certificate(wire, certificates, &mut object);
    let certificates = chosen(wire, scheme, certificates, &mut object);
    let client_validation =
        client_validation::parse(wire.client_validation.as_ref(), scheme, &mut object);
    let ech_keys = ech::parse(&wire.ech_keys, scheme, &mut object);
    let http3 = http3(wire, scheme, key.as_ref(), &mut object);
    let quic = transport::parse(&wire.quic.clone().unwrap_or_default(), &mut object);
    let admission = admission::parse(&wire.admission.clone().unwrap_or_default(), &mut object);
    let limits = limits::parse(&wire.limits.unwrap_or_default(), &mut object);
    let listener = |hostname| {
        Some(Listener {
            id: wire.id.as_str().into(),
            hostname,
            certificates,
            client_validation,
            ech_keys: ech_keys?,
            http3,
            quic: Arc::new(quic?),
            admission: admission?,
            limits: limits?,
            backend_certificate,
            routes,
        })
    };
    let listener = hostname.clone().and_then(listener);
    Parsed {
        key,
        scheme,
        hostname,
        listener,
    }
}

fn scheme(wire: &v1::Listener, object: &mut Object<'_>) -> Option<Scheme> {
    match wire.protocol() {
        v1::Protocol::Http => Some(Scheme::Http),
        v1::Protocol::Https => Some(Scheme::Https),
        v1::Protocol::Unspecified => {
            let message = format!("{} is none that is known; use HTTP or HTTPS", wire.protocol);
            object.refuse("protocol", message);
            None
        }
    }
}

fn binding_key(wire: &v1::Listener, object: &mut Object<'_>) -> Option<BindingKey> {
    let mut addresses = Vec::new();
    let mut sound = true;
    for (index, text) in wire.addresses.iter().enumerate() {
        match text.parse::<IpAddr>() {
            Ok(address) => addresses.push(address.to_canonical()),
            Err(_) => {
                sound = false;
                let message = format!("`{text}` is no IP address; leave it out to bind all");
                object.refuse(format!("addresses[{index}]"), message);
            }
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    let port = u16::try_from(wire.port);
    let port = port.map_err(|_| no_port(wire.port));
    let port = object.accept("port", port)?;
    sound.then_some(BindingKey { addresses, port })
}

fn chosen(
    wire: &v1::Listener,
    scheme: Option<Scheme>,
    certificates: &Certificates,
    object: &mut Object<'_>,
) -> Vec<Arc<Certificate>> {
    let ids = &wire.certificate_ids;
    if scheme == Some(Scheme::Https) && ids.is_empty() {
        object.refuse(
            "certificate_ids",
            "is empty; HTTPS needs at least one certificate",
        );
    }
    if scheme == Some(Scheme::Http) && !ids.is_empty() {
        let message = "is set with HTTP; remove it or change the protocol to HTTPS";
        object.refuse("certificate_ids", message);
    }
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        let field = format!("certificate_ids[{index}]");
        match certificates.get(id.as_str()) {
            Some(certificate) if seen.insert(id) => found.extend(certificate.clone()),
            Some(_) => object.refuse(field, format!("{id} is there twice; remove one")),
            None => object.refuse(
                field,
                format!("no certificate has the id `{id}`; add it to `certificates`"),
            ),
        }
    }
    found
}

fn backend_certificate(
    wire: &v1::Listener,
    certificates: &Certificates,
    object: &mut Object<'_>,
) -> Option<Arc<Certificate>> {
    let id = wire.backend_certificate_id.as_str();
    if id.is_empty() {
        return None;
    }
    match certificates.get(id) {
        Some(certificate) => certificate.clone(),
        None => {
            let message = format!("no certificate has the id `{id}`; add it to `certificates`");
            object.refuse("backend_certificate_id", message);
            None
        }
    }
}

fn http3(
    wire: &v1::Listener,
    scheme: Option<Scheme>,
    key: Option<&BindingKey>,
    object: &mut Object<'_>,
) -> Option<Http3> {
    let http3 = wire.http3?;
    if scheme == Some(Scheme::Http) {
        let message = "is set with HTTP; remove it or change the protocol to HTTPS";
        object.refuse("http3", message);
    }
    let port = match http3.advertised_port {
        0 => key?.port,
        port => {
            let port = u16::try_from(port).map_err(|_| no_port(port));
            object.accept("http3.advertised_port", port)?
        }
    };
    let max_age = match http3.alt_svc_max_age_seconds {
        0 => 86_400,
        seconds => seconds,
    };
    Some(Http3::new(port, max_age))
}

fn no_port(port: u32) -> String {
    format!("{port} is no port; use 1 to 65535")
}
