//! Encrypted ClientHello of listeners: keys that are found and whole, and public names that
//! the port serves.
//!
//! A client that comes with an unknown key is told the right ones only by a server that
//! proves to have the public name (RFC 9849 6.1.6). So where a port cannot, the listener that
//! brought the keys is not served: its clients would go on in clear, or not at all.

use boring::x509::X509;
use bytes::Bytes;
use tidegate_proto::v1;

use super::{Fault, certificate, hostname, listener::ListenerPlan, listener_options};
use crate::{
    ech::{CURRENT, EchKeys, EchPair, PREVIOUS},
    resources::{ObjectKey, Resources},
};

/// The keys of a listener.
pub(super) struct EchPlan {
    field: String,
    keys: EchKeys,
}

/// Reads the keys in Secret `name`, which the option at `field` of a listener names.
pub(super) fn resolve(
    resources: &Resources,
    namespace: &str,
    name: &str,
    field: &str,
) -> Result<(EchPlan, Option<Fault>), Fault> {
    let field = format!("{field}.tls.options[{}ech]", listener_options::PREFIX);
    let key = ObjectKey::new(namespace, name);
    let Some(secret) = resources.secrets.get(&key) else {
        return Err(certificate::invalid(
            &field,
            format!("there is no Secret {key}; create it with `tidegate ech generate`"),
        ));
    };
    let data = |name: &str| {
        let data = secret.object.data.as_ref();
        let value = data.and_then(|data| data.get(name));
        value.map(|value| value.0.as_slice()).unwrap_or_default()
    };
    let keys = EchKeys::read(data(CURRENT), data(PREVIOUS))
        .map_err(|problem| certificate::invalid(&field, format!("Secret {key}: {problem}")))?;
    let warning = certificate::held_back(&field, &key, secret);
    Ok((EchPlan { field, keys }, warning))
}

impl EchPlan {
    /// As the dataplane gets them.
    pub(super) fn to_wire(&self) -> Vec<v1::EchKey> {
        let wire = |offered| {
            move |pair: &EchPair| v1::EchKey {
                config: Bytes::copy_from_slice(pair.config()),
                private_key: Bytes::copy_from_slice(pair.private_key()),
                offered,
            }
        };
        let current = self.keys.current().iter().map(wire(true));
        let previous = self.keys.previous().iter().map(wire(false));
        current.chain(previous).collect()
    }
}

/// Takes out of service the listeners whose clients could not be told new keys. As that may
/// take a public name from another, it is asked until nothing changes.
pub(super) fn check_public_names(listeners: &mut [ListenerPlan<'_>]) {
    while let Some((index, fault)) =
        (0..listeners.len()).find_map(|index| Some((index, problem(listeners, &listeners[index])?)))
    {
        listeners[index].unresolved.push(fault);
        listeners[index].config = None;
    }
}

fn problem(listeners: &[ListenerPlan<'_>], plan: &ListenerPlan<'_>) -> Option<Fault> {
    let ech = plan.ech.as_ref().filter(|_| plan.config.is_some())?;
    ech.keys.current().iter().find_map(|pair| {
        let name = pair.public_name();
        let port = plan.spec.port;
        let problem = match listener_of(listeners, port, name) {
            None => format!(
                "the public name `{name}` is of no listener on port {port}; add a listener for it with its \
                 certificate, or make keys for another name"
            ),
            Some(host) if !host.certificates.iter().any(|one| is_for(one, name)) => format!(
                "no certificate of listener {} is for the public name `{name}`; add one, or make keys for another \
                 name",
                host.spec.name
            ),
            Some(_) => return None,
        };
        Some(certificate::invalid(&ech.field, problem))
    })
}

/// The listener that a client with this server name gets: that with the narrowest host name.
fn listener_of<'l, 'a>(
    listeners: &'l [ListenerPlan<'a>],
    port: i32,
    name: &str,
) -> Option<&'l ListenerPlan<'a>> {
    let served = listeners
        .iter()
        .filter(|plan| plan.spec.port == port && plan.config.is_some());
    let has = |plan: &&ListenerPlan<'_>| {
        hostname::intersection(plan.hostname(), name).as_deref() == Some(name)
    };
    served
        .filter(has)
        .max_by_key(|plan| (plan.hostname() == name, plan.hostname().len()))
}

/// Whether a certificate's leaf has the name (RFC 9525 6.3).
fn is_for(certificate: &v1::Certificate, name: &str) -> bool {
    let Ok(chain) = X509::stack_from_pem(&certificate.chain_pem) else {
        return false;
    };
    let names = chain.first().and_then(|leaf| leaf.subject_alt_names());
    let parent = name.split_once('.').map(|(_, parent)| parent);
    names
        .iter()
        .flatten()
        .filter_map(|one| one.dnsname())
        .any(|one| {
            let wildcard = one.strip_prefix("*.");
            one.eq_ignore_ascii_case(name)
                || wildcard.is_some_and(|suffix| {
                    parent.is_some_and(|parent| suffix.eq_ignore_ascii_case(parent))
                })
        })
}
