//! The keys themselves: made, rotated, and written down. Pure: time and randomness
//! are arguments.

use base64::{Engine, prelude::BASE64_STANDARD};
use rand::TryCryptoRng;
use serde::{Deserialize, Serialize};
use tidegate_proto::v1;

use super::derive::relay;

/// Bytes of a session ticket key: name 16, HMAC 16, AES 16.
const TICKET_LENGTH: usize = 48;
const RETRY_LENGTH: usize = 32;
const RESET_LENGTH: usize = 32;
/// Bytes of an AES-128 key.
const CID_LENGTH: usize = 16;

/// The current key and the one before it.
const OVERLAP: usize = 2;
/// A connection keeps IDs of the key that it began with, so these live longer: as many
/// as a config octet's three bits can tell apart, less the next one and the reserved 7.
const CID_OVERLAP: usize = 6;
/// Values of the three bits that name a CID key; 7 says that there is none.
const CID_IDS: u32 = 7;

/// All shared keys, each list newest first. It has no `Debug`: keys are never logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRing {
    rotated_at_ms: i64,
    ticket: Vec<Secret>,
    retry: Vec<Secret>,
    reset: Vec<Secret>,
    cid: Vec<Secret>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Secret {
    id: u32,
    #[serde(with = "base64_text")]
    material: Vec<u8>,
}

impl KeyRing {
    /// A ring with one key of each kind. Fails where the source of randomness does.
    pub fn generate<R: TryCryptoRng>(rng: &mut R, now_ms: i64) -> Result<Self, R::Error> {
        let empty = Self {
            rotated_at_ms: now_ms,
            ticket: vec![],
            retry: vec![],
            reset: vec![],
            cid: vec![],
        };
        empty.rotated(rng, now_ms)
    }

    /// The ring with a new key of each kind in front; the oldest leave where there are
    /// more than overlap asks for.
    pub fn rotated<R: TryCryptoRng>(&self, rng: &mut R, now_ms: i64) -> Result<Self, R::Error> {
        Ok(Self {
            rotated_at_ms: now_ms,
            ticket: with_newer(&self.ticket, rng, TICKET_LENGTH, OVERLAP, u32::MAX)?,
            retry: with_newer(&self.retry, rng, RETRY_LENGTH, OVERLAP, u32::MAX)?,
            reset: with_newer(&self.reset, rng, RESET_LENGTH, OVERLAP, u32::MAX)?,
            cid: with_newer(&self.cid, rng, CID_LENGTH, CID_OVERLAP, CID_IDS)?,
        })
    }

    /// UNIX milliseconds of the last rotation.
    pub fn rotated_at_ms(&self) -> i64 {
        self.rotated_at_ms
    }

    /// The keys as a snapshot carries them.
    pub fn to_wire(&self) -> v1::Keys {
        let wire = |secrets: &[Secret]| -> Vec<v1::Key> {
            secrets
                .iter()
                .map(|secret| v1::Key {
                    id: secret.id,
                    material: secret.material.clone().into(),
                })
                .collect()
        };
        let reset = wire(&self.reset);
        v1::Keys {
            ticket: wire(&self.ticket),
            retry: wire(&self.retry),
            relay: relay(&reset),
            reset,
            cid: wire(&self.cid),
        }
    }

    /// Whether every list has its keys in their lengths, as a file by hand may not.
    pub fn is_complete(&self) -> bool {
        let complete = |secrets: &[Secret], length, most| {
            (1..=most).contains(&secrets.len())
                && secrets.iter().all(|secret| secret.material.len() == length)
        };
        complete(&self.ticket, TICKET_LENGTH, OVERLAP)
            && complete(&self.retry, RETRY_LENGTH, OVERLAP)
            && complete(&self.reset, RESET_LENGTH, OVERLAP)
            && complete(&self.cid, CID_LENGTH, CID_OVERLAP)
            && self.cid.iter().all(|secret| secret.id < CID_IDS)
    }
}

fn with_newer<R: TryCryptoRng>(
    secrets: &[Secret],
    rng: &mut R,
    length: usize,
    keep: usize,
    ids: u32,
) -> Result<Vec<Secret>, R::Error> {
    let id = secrets
        .first()
        .map_or(0, |newest| newest.id.wrapping_add(1) % ids);
    let mut material = vec![0; length];
    rng.try_fill_bytes(&mut material)?;
    let newest = Secret { id, material };
    Ok(std::iter::once(newest)
        .chain(secrets.iter().cloned())
        .take(keep)
        .collect())
}

mod base64_text {
    use serde::{Deserializer, Serializer, de::Error};

    use super::{BASE64_STANDARD, Deserialize, Engine};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        // What was read is part of a key: the error does not show it.
        BASE64_STANDARD
            .decode(String::deserialize(from)?)
            .map_err(|_| D::Error::custom("material is not base64"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::rngs::SysRng;

    use super::*;

    #[test]
    fn the_previous_key_stays_valid_after_a_rotation() {
        let first = KeyRing::generate(&mut SysRng, 1).unwrap();
        let second = first.rotated(&mut SysRng, 2).unwrap();
        let (before, after) = (first.to_wire(), second.to_wire());
        for (before, after) in [
            (&before.ticket, &after.ticket),
            (&before.retry, &after.retry),
            (&before.reset, &after.reset),
            (&before.cid, &after.cid),
        ] {
            assert_eq!((before.len(), after.len()), (1, 2));
            assert_eq!(after[1], before[0], "the one before comes second");
            assert_ne!(after[0].material, before[0].material);
            assert_ne!(after[0].id, before[0].id);
        }
        assert_eq!(second.rotated_at_ms(), 2);
    }

    #[test]
    fn many_rotations_keep_a_bounded_overlap_with_distinct_names() {
        let mut ring = KeyRing::generate(&mut SysRng, 0).unwrap();
        for now in 1..20 {
            ring = ring.rotated(&mut SysRng, now).unwrap();
            assert!(ring.is_complete());
            let ids: BTreeSet<_> = ring.cid.iter().map(|secret| secret.id).collect();
            assert_eq!(ids.len(), ring.cid.len(), "a connection ID names one key");
        }
        assert_eq!(ring.ticket.len(), OVERLAP);
        assert_eq!(ring.cid.len(), CID_OVERLAP);
    }

    #[test]
    fn what_is_written_reads_back_and_a_short_key_is_noticed() {
        let ring = KeyRing::generate(&mut SysRng, 7).unwrap();
        let mut json = serde_json::to_value(&ring).unwrap();
        assert!(serde_json::from_value::<KeyRing>(json.clone()).unwrap() == ring);
        json["retry"][0]["material"] = "AAAA".into();
        assert!(
            !serde_json::from_value::<KeyRing>(json)
                .unwrap()
                .is_complete()
        );
    }
}
