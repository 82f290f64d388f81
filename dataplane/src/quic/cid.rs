//! Connection IDs that route themselves.
//!
//! A connection ID is a config octet and one AES-128 block, as QUIC-LB's single-pass form
//! has it: `server id (4) | shard (1) | slot (3) | generation (3) | nonce (5)`. Whoever has
//! the key reads from any packet, however old its path, which dataplane, which shard and
//! which connection it is for; to everyone else two IDs of a connection have nothing in
//! common (RFC 9000 5.1). A forged one decodes to another server with probability
//! 1 - 2^-32, and to a live connection with far less.

use aes::{
    Aes128,
    cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit},
};

use crate::{connections::Handle, snapshot::CidKey};

/// Length of every connection ID that this gateway makes, in bytes.
pub const CID_LEN: usize = 17;

/// A connection ID of this gateway.
pub type Cid = [u8; CID_LEN];

/// Where a connection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The dataplane, see [`server_id`].
    pub server: u32,
    /// The shard in it.
    pub shard: u8,
    /// The connection in that.
    pub handle: Handle,
}

/// Makes the connection IDs of a connection, and knows those that this gateway made.
pub trait ConnectionIdGenerator {
    /// A fresh connection ID for a place. `nonce` must not repeat for it; the low 40
    /// bits count.
    fn new_connection_id(&self, location: Location, nonce: u64) -> Cid;
    /// The place that a connection ID names; `None` if this gateway made no such ID.
    /// For an ID of foreign origin the answer may be a place that does not exist.
    fn locate(&self, cid: &[u8]) -> Option<Location>;
}

/// The encrypted form.
#[derive(Clone)]
pub struct CidCodec {
    /// The first one makes; the config octet's upper three bits choose.
    keys: Vec<(u8, Aes128)>,
}

impl CidCodec {
    /// A codec that makes IDs with the first key and reads those of all.
    pub fn new(keys: &[CidKey]) -> Self {
        let cipher = |key: &CidKey| (key.id as u8 & ROTATION_MASK, Aes128::new(&key.aes.into()));
        Self {
            keys: keys.iter().map(cipher).collect(),
        }
    }

    /// The three bits that name the key that makes.
    pub fn making(&self) -> u8 {
        self.keys[0].0
    }

    /// The place of the key that a connection ID names.
    pub fn key_of(&self, cid: &[u8]) -> Option<usize> {
        let named = cid.first()? >> 5;
        self.keys
            .iter()
            .position(|(rotation, _)| *rotation == named)
    }
}

impl ConnectionIdGenerator for CidCodec {
    fn new_connection_id(&self, location: Location, nonce: u64) -> Cid {
        let (rotation, cipher) = &self.keys[0];
        let mut block = [0; 16];
        block[..4].copy_from_slice(&location.server.to_be_bytes());
        block[4] = location.shard;
        block[5..8].copy_from_slice(&location.handle.slot.to_be_bytes()[1..]);
        block[8..11].copy_from_slice(&location.handle.generation.to_be_bytes()[1..]);
        block[11..].copy_from_slice(&nonce.to_be_bytes()[3..]);
        let mut block = Array::from(block);
        cipher.encrypt_block(&mut block);
        let mut cid = [0; CID_LEN];
        // QUIC-LB's config octet: rotation, then the length of what follows.
        cid[0] = rotation << 5 | (CID_LEN as u8 - 1);
        cid[1..].copy_from_slice(&block);
        cid
    }

    fn locate(&self, cid: &[u8]) -> Option<Location> {
        let cid: &Cid = cid.try_into().ok()?;
        if cid[0] & LENGTH_MASK != CID_LEN as u8 - 1 {
            return None;
        }
        let (_, cipher) = &self.keys[self.key_of(cid)?];
        let mut block = Array::from(<[u8; 16]>::try_from(&cid[1..]).ok()?);
        cipher.decrypt_block(&mut block);
        let number = |range: std::ops::Range<usize>| {
            block[range]
                .iter()
                .fold(0, |number, byte| number << 8 | u32::from(*byte))
        };
        Some(Location {
            server: number(0..4),
            shard: block[4],
            handle: Handle {
                slot: number(5..8),
                generation: number(8..11),
            },
        })
    }
}

/// The number that stands for a dataplane in connection IDs: FNV-1a of its id.
pub fn server_id(dataplane: &str) -> u32 {
    dataplane.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

const ROTATION_MASK: u8 = 0b111;
const LENGTH_MASK: u8 = 0b1_1111;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u32) -> CidKey {
        CidKey {
            id,
            aes: [id as u8; 16],
        }
    }

    fn location(shard: u8, slot: u32) -> Location {
        Location {
            server: server_id("edge"),
            shard,
            handle: Handle {
                slot,
                generation: 0x00ab_cdef,
            },
        }
    }

    #[test]
    fn every_id_leads_back_to_its_connection() {
        let codec = CidCodec::new(&[key(1)]);
        for slot in [0, 1, 255, 256, 0x00ff_ffff] {
            for shard in [0, 1, 255] {
                let cid = codec.new_connection_id(location(shard, slot), 7);
                assert_eq!(codec.locate(&cid), Some(location(shard, slot)));
            }
        }
    }

    #[test]
    fn ids_of_the_key_before_are_still_read() {
        let before = CidCodec::new(&[key(1)]).new_connection_id(location(1, 2), 3);
        let rotated = CidCodec::new(&[key(2), key(1)]);
        assert_eq!(rotated.locate(&before), Some(location(1, 2)));
        assert_ne!(rotated.new_connection_id(location(1, 2), 3), before);
        assert_eq!(CidCodec::new(&[key(2)]).locate(&before), None);
    }

    #[test]
    fn who_has_the_new_keys_and_who_has_not_read_each_others_ids() {
        let before = CidCodec::new(&[key(1), key(2)]);
        let after = CidCodec::new(&[key(2), key(3), key(1)]);
        for (making, reading) in [(&before, &after), (&after, &before)] {
            let cid = making.new_connection_id(location(1, 2), 3);
            assert_eq!(reading.locate(&cid), Some(location(1, 2)));
        }
        let cid = before.new_connection_id(location(1, 2), 3);
        assert_eq!(
            (before.key_of(&cid), after.key_of(&cid)),
            (Some(0), Some(2))
        );
        assert_eq!((before.making(), after.making()), (1, 2));
    }

    #[test]
    fn two_ids_of_a_connection_share_only_the_config_octet() {
        let codec = CidCodec::new(&[key(5)]);
        let first = codec.new_connection_id(location(1, 2), 3);
        let second = codec.new_connection_id(location(1, 2), 4);
        assert_eq!(first[0], second[0]);
        let same = first[1..]
            .iter()
            .zip(&second[1..])
            .filter(|(a, b)| a == b)
            .count();
        assert!(same < 4, "{same} equal bytes of 16");
    }

    #[test]
    fn nothing_of_another_form_is_read() {
        let codec = CidCodec::new(&[key(1)]);
        let cid = codec.new_connection_id(location(1, 2), 3);
        assert_eq!(codec.locate(&cid[..16]), None);
        assert_eq!(codec.locate(&[]), None);
        let mut other = cid;
        other[0] ^= 1;
        assert_eq!(codec.locate(&other), None);
    }

    #[test]
    fn a_changed_id_names_another_server() {
        let codec = CidCodec::new(&[key(1)]);
        let cid = codec.new_connection_id(location(1, 2), 3);
        for byte in 1..CID_LEN {
            for bit in 0..8 {
                let mut forged = cid;
                forged[byte] ^= 1 << bit;
                assert_ne!(
                    codec.locate(&forged).map(|found| found.server),
                    Some(server_id("edge"))
                );
            }
        }
    }
}
