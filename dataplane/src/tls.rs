//! TLS for both doors, QUIC and TCP, on BoringSSL.
//!
//! Each binding has a root context, which sees the ClientHello, and a context for each
//! certificate of each listener, which the root puts in place by server name (RFC 6066 3)
//! before anything else is decided. When the snapshot changes, contexts are built for what
//! is new in it ([`Contexts`]); connections that live keep theirs. Session tickets are made
//! with the shared keys ([`Tickets`]) and bound to listener, transport and the authorities
//! of clients, so that a session never resumes across virtual hosts. What a handshake was
//! made under stays with its session ([`Terms`]). Early data is for listeners that ask for it
//! ([`EarlyData`]). Where a listener has keys for encrypted ClientHellos, its whole binding
//! reads them ([`EchCounts`]).

mod early_data;
mod ech;
mod expiry;
mod host;
mod quic;
mod tcp;
mod terms;
mod tickets;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use boring::{
    error::ErrorStack,
    ssl::{
        AlpnError, NameType, SelectCertError, SslContextBuilder, SslMethod, SslVersion,
        select_next_proto,
    },
};

use self::host::Host;
pub(crate) use self::quic::ACTIVE_CONNECTION_IDS;
pub use self::{
    early_data::{EarlyData, Flight},
    ech::EchCounts,
    host::Contexts,
    quic::quic_config,
    tcp::{AcceptError, TcpAcceptor},
    terms::Terms,
    tickets::Tickets,
};
use crate::snapshot::{Binding, QuicTransport};

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

/// Builds the root context of a binding. `quic`: the port's transport settings, and what early
/// data is bound to.
fn root(
    door: Door,
    binding: &Arc<Binding>,
    tickets: &Tickets,
    contexts: &mut Contexts,
    quic: Option<(&QuicTransport, &EarlyData)>,
    ech_counts: &Arc<EchCounts>,
) -> Result<SslContextBuilder, TlsError> {
    let hosts: Vec<Vec<Host>> = binding
        .listeners
        .iter()
        .map(|listener| {
            let host =
                |certificate| Host::new(door, listener, certificate, tickets, contexts, quic);
            listener.certificates.iter().map(host).collect()
        })
        .collect::<Result<_, _>>()?;
    if hosts.iter().all(Vec::is_empty) {
        return Err(TlsError::NoCertificate);
    }
    let mut builder = base(door, tickets)?;
    let ech = ech::keys(binding)?;
    if let Some(keys) = &ech {
        builder.set_ech_keys(keys)?;
    }
    let ech_counts = ech.map(|_| ech_counts.clone());
    let binding = binding.clone();
    builder.set_select_certificate_callback(move |mut hello| {
        if let Some(counts) = &ech_counts {
            counts.note(&hello);
        }
        let name = hello
            .servername(NameType::HOST_NAME)
            .map(str::to_ascii_lowercase);
        let host = choose(&binding, &hosts, name.as_deref()).ok_or(SelectCertError::ERROR)?;
        host.take_over(hello.ssl_mut())
            .map_err(|_| SelectCertError::ERROR)
    });
    Ok(builder)
}

/// What root and host contexts have in common.
fn base(door: Door, tickets: &Tickets) -> Result<SslContextBuilder, TlsError> {
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
    tickets.install(&mut builder);
    Ok(builder)
}

/// The certificate for a server name: of the connection's listener the first that has the
/// name, else its first.
fn choose<'a>(binding: &Binding, hosts: &'a [Vec<Host>], name: Option<&str>) -> Option<&'a Host> {
    let listener = binding.listener_of_connection(name);
    let index = binding
        .listeners
        .iter()
        .position(|other| Arc::ptr_eq(other, listener))?;
    let hosts = hosts.get(index)?;
    let has = |host: &&Host| {
        let names = host.names.iter();
        name.is_some_and(|name| names.into_iter().any(|pattern| pattern.matches(name)))
    };
    hosts.iter().find(has).or(hosts.first())
}

/// The hybrid post-quantum group first, then the classical ones.
const GROUPS: &str = "X25519MLKEM768:X25519:P-256:P-384";
