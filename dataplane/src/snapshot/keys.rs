//! Secrets that every shard and every dataplane share.

use std::{collections::HashSet, fmt};

use tidegate_proto::v1;

use super::problems::{Object, Problems};

/// The object that rejections of keys name.
const OBJECT: &str = "keys";

/// Of each list the first makes, and all are accepted; there is at least one unless it says
/// otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Session tickets (RFC 8446 4.6.1).
    pub ticket: Vec<TicketKey>,
    /// Retry tokens (RFC 9000 8.1).
    pub retry: Vec<SecretKey>,
    /// Stateless reset tokens (RFC 9000 10.3), as many and in the order of `cid`, with which
    /// they change.
    pub reset: Vec<SecretKey>,
    /// Connection IDs; the low 3 bits of each `id` differ.
    pub cid: Vec<CidKey>,
    /// What dataplanes of a Gateway relay to each other. None: from a control plane that
    /// knows of no relays.
    pub relay: Vec<SecretKey>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct TicketKey {
    pub id: u32,
    pub name: [u8; 16],
    pub hmac: [u8; 16],
    pub aes: [u8; 16],
}

#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey {
    pub id: u32,
    pub secret: [u8; 32],
}

#[derive(Clone, PartialEq, Eq)]
pub struct CidKey {
    pub id: u32,
    pub aes: [u8; 16],
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CidKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

pub(super) fn parse(wire: Option<v1::Keys>, problems: &mut Problems) -> Option<Keys> {
    let mut object = problems.of(OBJECT);
    let Some(wire) = wire else {
        object.refuse(
            "keys",
            "are missing; send ticket, retry, reset and cid keys",
        );
        return None;
    };
    let ticket = list(
        "ticket",
        wire.ticket,
        u32::MAX,
        &mut object,
        |id, bytes: [u8; 48]| {
            let part = |at: usize| std::array::from_fn(|index| bytes[at + index]);
            TicketKey {
                id,
                name: part(0),
                hmac: part(16),
                aes: part(32),
            }
        },
    );
    let secret = |id, secret| SecretKey { id, secret };
    let retry = list("retry", wire.retry, u32::MAX, &mut object, secret);
    let reset = list("reset", wire.reset, u32::MAX, &mut object, secret);
    let cid = list("cid", wire.cid, 0b111, &mut object, |id, aes| CidKey {
        id,
        aes,
    });
    let relay = match wire.relay.is_empty() {
        true => Some(Vec::new()),
        false => list("relay", wire.relay, u32::MAX, &mut object, secret),
    };
    Some(Keys {
        ticket: ticket?,
        retry: retry?,
        reset: reset?,
        cid: cid?,
        relay: relay?,
    })
}

/// `N` is the length of the material; ids must differ in the bits of `distinct`.
fn list<const N: usize, T>(
    field: &str,
    wire: Vec<v1::Key>,
    distinct: u32,
    object: &mut Object<'_>,
    make: impl Fn(u32, [u8; N]) -> T,
) -> Option<Vec<T>> {
    if wire.is_empty() {
        object.refuse(
            field,
            format!("is empty; give at least one key of {N} bytes"),
        );
        return None;
    }
    let mut seen = HashSet::new();
    let mut keys = Some(Vec::new());
    for (index, key) in wire.into_iter().enumerate() {
        if !seen.insert(key.id & distinct) {
            let message = format!("{} names another key already; give each its own", key.id);
            object.refuse(format!("{field}[{index}].id"), message);
        }
        match <[u8; N]>::try_from(&key.material[..]) {
            Ok(material) => keys
                .iter_mut()
                .for_each(|keys| keys.push(make(key.id, material))),
            Err(_) => {
                let message = format!("has {} bytes; give {N}", key.material.len());
                object.refuse(format!("{field}[{index}].material"), message);
                keys = None;
            }
        }
    }
    keys
}
