//! What data planes of one Gateway send each other: a datagram of a client's or to one,
//! sealed with a key that only they have.
//!
//! `version (1) | key id (4) | nonce (12) | AES-256-GCM(datagram | client (18) | local (18)
//! | way (1)) | tag (16)`. Version and key id are authenticated too. An address is an IPv6
//! one, IPv4 mapped into it, and a port.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use boring::aead::{AeadCtx, Algorithm};

use crate::snapshot::SecretKey;

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the data plane that has the connection.
    ToOwner,
    /// From there to the client.
    ToClient,
}

/// What was in a frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// Which way it goes.
    pub way: Way,
    /// The client's address.
    pub client: SocketAddr,
    /// The address of the data plane that the client's packets reach.
    pub local: SocketAddr,
    /// The QUIC packets.
    pub datagram: &'a mut [u8],
}

/// Seals and opens. It has no `Debug`: it holds keys.
pub struct Sealer {
    /// Newest first.
    keys: Vec<(u32, AeadCtx)>,
    /// Of the frame before; its low 96 bits count.
    nonce: u128,
}

impl Sealer {
    /// A sealer without keys. `nonce` is where it begins to count: random, because all
    /// shards of all data planes use the same key.
    pub fn new(nonce: u128) -> Self {
        Self {
            keys: Vec::new(),
            nonce,
        }
    }

    /// Seals with the first key from now on, and opens with all.
    pub fn set_keys(&mut self, keys: &[SecretKey]) {
        let algorithm = Algorithm::aes_256_gcm();
        let context = |key: &SecretKey| {
            let context = AeadCtx::new_default_tag(&algorithm, &key.secret);
            context.ok().map(|context| (key.id, context))
        };
        self.keys = keys.iter().filter_map(context).collect();
    }

    /// Writes a frame into `room`, [`OVERHEAD`] longer than the datagram, and says how long
    /// it is. `None` without a key, or if it does not fit.
    pub fn seal(
        &mut self,
        way: Way,
        client: SocketAddr,
        local: SocketAddr,
        datagram: &[u8],
        room: &mut [u8],
    ) -> Option<usize> {
        let (id, context) = self.keys.first_mut()?;
        let len = datagram.len() + OVERHEAD;
        let (head, rest) = room.get_mut(..len)?.split_at_mut(HEAD_LEN);
        let (content, tag) = rest.split_at_mut(datagram.len() + TRAILER_LEN);
        self.nonce = self.nonce.wrapping_add(1);
        let (name, nonce) = head.split_at_mut(NAME_LEN);
        name[0] = VERSION;
        name[1..].copy_from_slice(&id.to_be_bytes());
        nonce.copy_from_slice(&self.nonce.to_be_bytes()[4..]);
        let (inner, trailer) = content.split_at_mut(datagram.len());
        inner.copy_from_slice(datagram);
        trailer[..ADDRESS_LEN].copy_from_slice(&address_bytes(client));
        trailer[ADDRESS_LEN..2 * ADDRESS_LEN].copy_from_slice(&address_bytes(local));
        trailer[2 * ADDRESS_LEN] = match way {
            Way::ToOwner => TO_OWNER,
            Way::ToClient => TO_CLIENT,
        };
        context
            .seal_scatter_mut(nonce, content, tag, None, name)
            .ok()?;
        Some(len)
    }

    /// Opens a frame in place. `None` if nobody who has a key made it.
    pub fn open<'a>(&mut self, frame: &'a mut [u8]) -> Option<Opened<'a>> {
        if frame.len() < OVERHEAD || frame[0] != VERSION {
            return None;
        }
        let (head, rest) = frame.split_at_mut(HEAD_LEN);
        let (name, nonce) = head.split_at(NAME_LEN);
        let named = u32::from_be_bytes(name[1..].try_into().ok()?);
        let (_, context) = self.keys.iter_mut().find(|(id, _)| *id == named)?;
        let (content, tag) = rest.split_at_mut(rest.len() - TAG_LEN);
        context.open_gather_mut(nonce, content, tag, name).ok()?;
        let (datagram, trailer) = content.split_at_mut(content.len() - TRAILER_LEN);
        let (client, rest) = trailer.split_first_chunk()?;
        let (local, way) = rest.split_first_chunk()?;
        let way = match way {
            [TO_OWNER] => Way::ToOwner,
            [TO_CLIENT] => Way::ToClient,
            _ => return None,
        };
        Some(Opened {
            way,
            client: address(client),
            local: address(local),
            datagram,
        })
    }
}

fn address_bytes(address: SocketAddr) -> [u8; ADDRESS_LEN] {
    let ip = match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let mut bytes = [0; ADDRESS_LEN];
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    bytes
}

fn address(bytes: &[u8; ADDRESS_LEN]) -> SocketAddr {
    let octets: [u8; 16] = std::array::from_fn(|index| bytes[index]);
    let port = u16::from_be_bytes([bytes[16], bytes[17]]);
    SocketAddr::new(Ipv6Addr::from(octets).to_canonical(), port)
}

/// By how much a frame is longer than its datagram.
pub const OVERHEAD: usize = HEAD_LEN + TRAILER_LEN + TAG_LEN;
const VERSION: u8 = 1;
const TO_OWNER: u8 = 0;
const TO_CLIENT: u8 = 1;
/// Version and key id.
const NAME_LEN: usize = 5;
const HEAD_LEN: usize = NAME_LEN + 12;
const ADDRESS_LEN: usize = 18;
const TRAILER_LEN: usize = 2 * ADDRESS_LEN + 1;
const TAG_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u32) -> SecretKey {
        SecretKey {
            id,
            secret: [id as u8; 32],
        }
    }

    fn sealer(keys: &[u32]) -> Sealer {
        let keys: Vec<_> = keys.iter().map(|id| key(*id)).collect();
        let mut sealer = Sealer::new(u128::MAX - 1);
        sealer.set_keys(&keys);
        sealer
    }

    fn seal(sealer: &mut Sealer, datagram: &[u8]) -> Vec<u8> {
        let mut room = [0; 2_000];
        let (client, local) = (CLIENT.parse().unwrap(), LOCAL.parse().unwrap());
        let sealed = sealer.seal(Way::ToClient, client, local, datagram, &mut room);
        room[..sealed.unwrap()].to_vec()
    }

    const CLIENT: &str = "192.0.2.7:50123";
    const LOCAL: &str = "[2001:db8::1]:443";

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_the_one_before() {
        let mut frame = seal(&mut sealer(&[1]), b"packet");
        assert_eq!(frame.len(), b"packet".len() + OVERHEAD);
        let mut successor = sealer(&[2, 1]);
        let opened = successor.open(&mut frame).unwrap();
        assert_eq!(opened.way, Way::ToClient);
        assert_eq!(opened.client, CLIENT.parse().unwrap());
        assert_eq!(opened.local, LOCAL.parse().unwrap());
        assert_eq!(opened.datagram, b"packet");
    }

    #[test]
    fn no_changed_bit_opens() {
        let frame = seal(&mut sealer(&[1]), b"packet");
        for byte in 0..frame.len() {
            for bit in 0..8 {
                let mut forged = frame.clone();
                forged[byte] ^= 1 << bit;
                assert_eq!(sealer(&[1]).open(&mut forged), None, "{byte}.{bit}");
            }
        }
        for len in 0..frame.len() {
            assert_eq!(sealer(&[1]).open(&mut frame.clone()[..len]), None, "{len}");
        }
    }

    #[test]
    fn without_its_key_a_frame_is_neither_made_nor_opened() {
        let mut frame = seal(&mut sealer(&[1]), b"packet");
        assert_eq!(sealer(&[2]).open(&mut frame), None);
        let (client, local) = (CLIENT.parse().unwrap(), LOCAL.parse().unwrap());
        let nothing = sealer(&[]).seal(Way::ToOwner, client, local, b"packet", &mut [0; 2_000]);
        assert_eq!(nothing, None);
    }

    #[test]
    fn frames_of_the_same_datagram_differ() {
        let mut sealer = sealer(&[1]);
        let nonces: std::collections::HashSet<_> = (0..4)
            .map(|_| seal(&mut sealer, b"packet")[NAME_LEN..HEAD_LEN].to_vec())
            .collect();
        assert_eq!(nonces.len(), 4, "also where the counter begins anew");
    }

    #[test]
    fn a_datagram_that_does_not_fit_is_not_cut() {
        let (client, local) = (CLIENT.parse().unwrap(), LOCAL.parse().unwrap());
        let mut room = [0; 100];
        let sealed = sealer(&[1]).seal(Way::ToOwner, client, local, &[0; 100], &mut room);
        assert_eq!(sealed, None);
    }
}
