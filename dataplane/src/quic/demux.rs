//! What a datagram is for, decided without state of connections and without side effects.
//! The listener performs the verdict.

use super::{
    cid::{CID_LEN, ConnectionIdGenerator, Location},
    metrics::DatagramDrop,
    relay::peers::Peers,
};
use crate::connections::Handle;

/// Where this decision is made.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// See [`server_id`](super::cid::server_id).
    pub server: u32,
    /// The shard.
    pub shard: u8,
    /// How many there are.
    pub shards: u8,
}

/// What to do with a datagram.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It names a connection of this shard, which may be gone.
    Connection(Handle),
    /// It names a connection of another shard of this dataplane.
    Sideways(u8),
    /// It names a connection of another data plane, by that one's number.
    Elsewhere(u32),
    /// It names a connection of a data plane that is gone, or of a shard that this one had before
    /// it began anew.
    Gone,
    /// A long header with a connection ID that the client chose: it belongs to a
    /// handshake that is under way, or begins one if `initial` is there.
    Handshake {
        /// The client's destination connection ID.
        dcid: &'a [u8],
        /// Present in an Initial of a full datagram.
        initial: Option<Initial<'a>>,
    },
    /// A version that is not spoken here, in a datagram large enough for an answer.
    UnknownVersion {
        /// Both IDs, to be exchanged in the answer.
        dcid: &'a [u8],
        /// The client's own.
        scid: &'a [u8],
    },
    /// Nobody will see it.
    Drop(DatagramDrop),
}

/// The first packet of a handshake.
#[derive(Debug, PartialEq, Eq)]
pub struct Initial<'a> {
    /// The client's connection ID.
    pub scid: &'a [u8],
    /// Empty unless the client was sent a Retry.
    pub token: &'a [u8],
}

/// Decides. `len` is the whole datagram's; `datagram` begins with its first packet.
pub fn classify<'a>(
    datagram: &'a [u8],
    place: Place,
    ids: &impl ConnectionIdGenerator,
    peers: &Peers,
) -> Verdict<'a> {
    let Some(&first) = datagram.first() else {
        return Verdict::Drop(DatagramDrop::Empty);
    };
    if first & LONG_HEADER == 0 {
        let Some(dcid) = datagram.get(1..1 + CID_LEN) else {
            return Verdict::Drop(DatagramDrop::Malformed);
        };
        return match ids.locate(dcid) {
            Some(location) => {
                verdict_on(location, place, peers).unwrap_or(match peers.complete() {
                    true => Verdict::Gone,
                    false => Verdict::Drop(DatagramDrop::UnknownConnection),
                })
            }
            None => Verdict::Drop(DatagramDrop::UnknownConnection),
        };
    }
    long_header(datagram, first, place, ids, peers)
        .unwrap_or(Verdict::Drop(DatagramDrop::Malformed))
}

/// `None`: of no data plane that is known, if the ID is one at all.
fn verdict_on<'a>(location: Location, place: Place, peers: &Peers) -> Option<Verdict<'a>> {
    if location.server != place.server {
        let server = location.server;
        return peers.knows(server).then_some(Verdict::Elsewhere(server));
    }
    Some(match location.shard {
        shard if shard == place.shard => Verdict::Connection(location.handle),
        shard if shard < place.shards => Verdict::Sideways(shard),
        _ => Verdict::Gone,
    })
}

/// RFC 8999 5.1 and RFC 9000 17.2. `None` if it ends too early.
fn long_header<'a>(
    datagram: &'a [u8],
    first: u8,
    place: Place,
    ids: &impl ConnectionIdGenerator,
    peers: &Peers,
) -> Option<Verdict<'a>> {
    let mut rest = &datagram[1..];
    let version = u32::from_be_bytes(*take_chunk(&mut rest)?);
    let dcid = take_prefixed(&mut rest)?;
    let scid = take_prefixed(&mut rest)?;
    if version == 0 {
        // Version Negotiation is for clients.
        return Some(Verdict::Drop(DatagramDrop::Unexpected));
    }
    if !quiche::version_is_supported(version) {
        // RFC 9000 6.1: no answer to what is too small to begin a connection.
        return Some(if datagram.len() < MIN_INITIAL_LEN {
            Verdict::Drop(DatagramDrop::Undersized)
        } else {
            Verdict::UnknownVersion { dcid, scid }
        });
    }
    if dcid.len() > quiche::MAX_CONN_ID_LEN || scid.len() > quiche::MAX_CONN_ID_LEN {
        return None;
    }
    let kind = first & PACKET_TYPE;
    if kind == TYPE_INITIAL && datagram.len() < MIN_INITIAL_LEN {
        // RFC 9000 14.1, whoever chose the connection ID.
        return Some(Verdict::Drop(DatagramDrop::Undersized));
    }
    let location = ids.locate(dcid);
    if let Some(verdict) = location.and_then(|location| verdict_on(location, place, peers)) {
        return Some(verdict);
    }
    let initial = match kind {
        TYPE_INITIAL => {
            let token_len = take_varint(&mut rest)?;
            let token = take(&mut rest, usize::try_from(token_len).ok()?)?;
            // RFC 9000 7.2: at least 8 bytes of the client's choice.
            if dcid.len() < 8 {
                return None;
            }
            Some(Initial { scid, token })
        }
        TYPE_RETRY => return Some(Verdict::Drop(DatagramDrop::Unexpected)),
        _ => None,
    };
    Some(Verdict::Handshake { dcid, initial })
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(head)
}

fn take_chunk<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(head)
}

fn take_prefixed<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let [len] = *take_chunk(rest)?;
    take(rest, len.into())
}

/// RFC 9000 16.
fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let len = 1 << (rest.first()? >> 6);
    let bytes = take(rest, len)?;
    let number = bytes
        .iter()
        .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    Some(number & (u64::MAX >> (66 - 8 * len)))
}

const LONG_HEADER: u8 = 0x80;
const PACKET_TYPE: u8 = 0x30;
const TYPE_INITIAL: u8 = 0x00;
const TYPE_RETRY: u8 = 0x30;
/// RFC 9000 14.1.
const MIN_INITIAL_LEN: usize = 1200;

#[cfg(test)]
mod tests;
