//! TLS for both doors, QUIC and TCP, on BoringSSL.
//!
//! Each binding has a root context, which sees the ClientHello, and a context for each
//! certificate of each listener, which the root puts in place by server name (RFC 6066 3)
//! before anything else is decided. Contexts are built anew when the snapshot changes;
//! connections that live keep theirs. Session tickets are made with the shared keys
//! ([`tickets`]) and bound to listener and transport, so that a session never resumes
//! across virtual hosts.

mod quic;
mod tcp;
mod tickets;

use std::sync::Arc;

use boring::{
    error::ErrorStack,
    sha::sha256,
    ssl::{
        AlpnError, NameType, SelectCertError, SslContext, SslContextBuilder, SslMethod, SslVersion,
        select_next_proto,
    },
};

pub use self::{
    quic::quic_config,
    tcp::{AcceptError, TcpAcceptor},
};
use crate::{
    route::HostPattern,
    snapshot::{Binding, Certificate, Listener, TicketKey},
};

/// A binding whose TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// BoringSSL refused a certificate, key or setting.
    #[error("TLS could not be set up: {0}")]
    Boring(#[from] ErrorStack),
    /// quiche refused a setting.
    #[error("QUIC could not be set up: {0}")]
    Quiche(#[from] quiche::Error),
    /// There is no certificate at all.
    #[error("no listener of the binding has a certificate")]
    NoCertificate,
}

/// What carries the TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Quic,
    Tcp,
}

impl Door {
    /// ALPN protocols in order of preference, in wire form (RFC 7301 3.1).
    fn protocols(self) -> &'static [u8] {
        match self {
            Self::Quic => b"\x02h3",
            Self::Tcp => b"\x02h2\x08http/1.1",
        }
    }
}

/// Builds the root context of a binding.
fn root(
    door: Door,
    binding: &Arc<Binding>,
    tickets: &Arc<[TicketKey]>,
) -> Result<SslContextBuilder, TlsError> {
    let hosts: Vec<Vec<Host>> = binding
        .listeners
        .iter()
        .map(|listener| {
            let host = |certificate| Host::new(door, listener, certificate, tickets);
            listener.certificates.iter().map(host).collect()
        })
        .collect::<Result<_, _>>()?;
    if hosts.iter().all(Vec::is_empty) {
        return Err(TlsError::NoCertificate);
    }
    let mut builder = base(door, tickets)?;
    let binding = binding.clone();
    builder.set_select_certificate_callback(move |mut hello| {
        let name = hello
            .servername(NameType::HOST_NAME)
            .map(str::to_ascii_lowercase);
        let host = choose(&binding, &hosts, name.as_deref()).ok_or(SelectCertError::ERROR)?;
        hello
            .ssl_mut()
            .set_ssl_context(&host.context)
            .map_err(|_| SelectCertError::ERROR)
    });
    Ok(builder)
}

/// What root and host contexts have in common.
fn base(door: Door, tickets: &Arc<[TicketKey]>) -> Result<SslContextBuilder, TlsError> {
    let mut builder = SslContextBuilder::new(SslMethod::tls())?;
    let lowest = match door {
        Door::Quic => SslVersion::TLS1_3,
        Door::Tcp => SslVersion::TLS1_2,
    };
    builder.set_min_proto_version(Some(lowest))?;
    builder.set_curves_list(GROUPS)?;
    builder.set_alpn_select_callback(move |_, offered| {
        // RFC 7301 3.2: no protocol in common is fatal. Who offers none is not called for.
        select_next_proto(door.protocols(), offered).ok_or(AlpnError::ALERT_FATAL)
    });
    tickets::install(&mut builder, tickets.clone());
    Ok(builder)
}

/// A certificate of a listener, with the names that it is for.
struct Host {
    names: Vec<HostPattern>,
    context: SslContext,
}

impl Host {
    fn new(
        door: Door,
        listener: &Listener,
        certificate: &Arc<Certificate>,
        tickets: &Arc<[TicketKey]>,
    ) -> Result<Self, TlsError> {
        let mut builder = base(door, tickets)?;
        let (leaf, intermediates) = certificate
            .chain
            .split_first()
            .ok_or(TlsError::NoCertificate)?;
        builder.set_certificate(leaf)?;
        for intermediate in intermediates {
            builder.add_extra_chain_cert(intermediate.clone())?;
        }
        builder.set_private_key(&certificate.key)?;
        let context_id = format!("{door:?} {}", listener.id);
        builder.set_session_id_context(&sha256(context_id.as_bytes()))?;
        let names = leaf.subject_alt_names();
        let names = names
            .iter()
            .flatten()
            .filter_map(|name| name.dnsname()?.parse().ok());
        Ok(Self {
            names: names.collect(),
            context: builder.build(),
        })
    }
}

/// The certificate for a server name: of the listener with the most specific host name,
/// the first that has the name, else its first. Who names nobody gets the first of all.
fn choose<'a>(binding: &Binding, hosts: &'a [Vec<Host>], name: Option<&str>) -> Option<&'a Host> {
    let Some(name) = name else {
        return hosts.iter().flatten().next();
    };
    let listener = binding.listener_for(name)?;
    let index = binding
        .listeners
        .iter()
        .position(|other| Arc::ptr_eq(other, listener))?;
    let hosts = &hosts[index];
    hosts
        .iter()
        .find(|host| host.names.iter().any(|pattern| pattern.matches(name)))
        .or(hosts.first())
}

/// The hybrid post-quantum group first, then the classical ones.
const GROUPS: &str = "X25519MLKEM768:X25519:P-256:P-384";
