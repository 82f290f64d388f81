//! The keys themselves: made, rotated, and written down. Pure: time and randomness
//! are arguments.

use std::collections::BTreeSet;

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
/// A connection keeps the IDs of the key that it began with, and their reset tokens, so these
/// live longer: with the next one, as many as a config octet's three bits can tell apart.
const LONG_OVERLAP: usize = 6;
/// Values of the three bits that name a CID key; 7 says that there is none.
const CID_IDS: u32 = 7;

/// All shared keys: of each kind the current one, those before it from the newest on, and the
/// next one, which every dataplane has long before anybody uses it. It has no `Debug`: keys are
/// never logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRing {
    rotated_at_ms: i64,
    ticket: Vec<Secret>,
    retry: Vec<Secret>,
    reset: Vec<Secret>,
    cid: Vec<Secret>,
    /// Absent in a ring of an older version, until it is rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Next {
    ticket: Secret,
    retry: Secret,
    reset: Secret,
    cid: Secret,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Secret {
    id: u32,
    #[serde(with = "base64_text")]
    material: Vec<u8>,
}

impl KeyRing {
    /// A ring with a current and a next key of each kind. Fails where the source of randomness
    /// does.
    pub fn generate<R: TryCryptoRng>(rng: &mut R, now_ms: i64) -> Result<Self, R::Error> {
        let empty = Self {
            rotated_at_ms: now_ms,
            ticket: vec![],
            retry: vec![],
            reset: vec![],
            cid: vec![],
            next: None,
        };
        empty.rotated(rng, now_ms)
    }

    /// The ring whose current keys are the next ones of this, with new next ones; the oldest
    /// leave where there are more than overlap asks for.
    pub fn rotated<R: TryCryptoRng>(&self, rng: &mut R, now_ms: i64) -> Result<Self, R::Error> {
        let current = match self.next.clone() {
            Some(next) => next,
            None => self.newer(rng)?,
        };
        let mut ring = Self {
            rotated_at_ms: now_ms,
            ticket: in_front(current.ticket, &self.ticket, OVERLAP),
            retry: in_front(current.retry, &self.retry, OVERLAP),
            reset: in_front(current.reset, &self.reset, LONG_OVERLAP),
            cid: in_front(current.cid, &self.cid, LONG_OVERLAP),
            next: None,
        };
        ring.next = Some(ring.newer(rng)?);
        Ok(ring)
    }

    /// Keys to follow the current ones.
    fn newer<R: TryCryptoRng>(&self, rng: &mut R) -> Result<Next, R::Error> {
        let mut newer = |secrets: &[Secret], length, ids| {
            let id = secrets
                .first()
                .map_or(0, |newest| newest.id.wrapping_add(1) % ids);
            let mut material = vec![0; length];
            rng.try_fill_bytes(&mut material)?;
            Ok(Secret { id, material })
        };
        Ok(Next {
            ticket: newer(&self.ticket, TICKET_LENGTH, u32::MAX)?,
            retry: newer(&self.retry, RETRY_LENGTH, u32::MAX)?,
            reset: newer(&self.reset, RESET_LENGTH, u32::MAX)?,
            cid: newer(&self.cid, CID_LENGTH, CID_IDS)?,
        })
    }

    /// UNIX milliseconds of the last rotation.
    pub fn rotated_at_ms(&self) -> i64 {
        self.rotated_at_ms
    }

    /// The keys as a snapshot carries them: the first of each list is in use.
    pub fn to_wire(&self) -> v1::Keys {
        let next = self.next.as_ref();
        let reset = wire(&self.reset, next.map(|next| &next.reset));
        v1::Keys {
            ticket: wire(&self.ticket, next.map(|next| &next.ticket)),
            retry: wire(&self.retry, next.map(|next| &next.retry)),
            relay: relay(&reset),
            reset,
            cid: wire(&self.cid, next.map(|next| &next.cid)),
        }
    }

    /// Whether every list has its keys in their lengths, as a file by hand may not.
    pub fn is_complete(&self) -> bool {
        fn complete(secrets: &[Secret], next: Option<&Secret>, length: usize, most: usize) -> bool {
            (1..=most).contains(&secrets.len())
                && secrets
                    .iter()
                    .chain(next)
                    .all(|secret| secret.material.len() == length)
        }
        let next = self.next.as_ref();
        let (ticket, retry) = (next.map(|next| &next.ticket), next.map(|next| &next.retry));
        let (reset, cid) = (next.map(|next| &next.reset), next.map(|next| &next.cid));
        let mut named = BTreeSet::new();
        complete(&self.ticket, ticket, TICKET_LENGTH, OVERLAP)
            && complete(&self.retry, retry, RETRY_LENGTH, OVERLAP)
            && complete(&self.reset, reset, RESET_LENGTH, LONG_OVERLAP)
            && complete(&self.cid, cid, CID_LENGTH, LONG_OVERLAP)
            && self
                .cid
                .iter()
                .chain(cid)
                .all(|secret| secret.id < CID_IDS && named.insert(secret.id))
    }
}

fn in_front(current: Secret, before: &[Secret], keep: usize) -> Vec<Secret> {
    std::iter::once(current)
        .chain(before.iter().cloned())
        .take(keep)
        .collect()
}

/// The current key first, because that makes; then the next one, then those before.
fn wire(secrets: &[Secret], next: Option<&Secret>) -> Vec<v1::Key> {
    let (current, before) = secrets.split_at(secrets.len().min(1));
    current
        .iter()
        .chain(next)
        .chain(before)
        .map(|secret| v1::Key {
            id: secret.id,
            material: secret.material.clone().into(),
        })
        .collect()
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
    use rand::rngs::SysRng;
    use serde_json::json;

    use super::*;

    fn kinds(keys: &v1::Keys) -> [&[v1::Key]; 5] {
        [
            &keys.ticket,
            &keys.retry,
            &keys.reset,
            &keys.cid,
            &keys.relay,
        ]
    }

    #[test]
    fn a_key_is_told_of_before_it_is_used_and_accepted_after() {
        let first = KeyRing::generate(&mut SysRng, 1).unwrap();
        let second = first.rotated(&mut SysRng, 2).unwrap();
        let (before, after) = (first.to_wire(), second.to_wire());
        for (before, after) in kinds(&before).into_iter().zip(kinds(&after)) {
            let ([current, next], [now, then, last]) = (before, after) else {
                panic!("{} and {} keys", before.len(), after.len());
            };
            assert_eq!(now, next, "what was told of is in use");
            assert_eq!(last, current, "what was in use is accepted");
            for old in [current, next] {
                assert!(then.id != old.id && then.material != old.material);
            }
        }
        assert_eq!(second.rotated_at_ms(), 2);
    }

    #[test]
    fn many_rotations_keep_a_bounded_overlap_with_distinct_names() {
        let mut ring = KeyRing::generate(&mut SysRng, 0).unwrap();
        for now in 1..20 {
            let before = ring.to_wire();
            ring = ring.rotated(&mut SysRng, now).unwrap();
            assert!(ring.is_complete());
            for (before, after) in kinds(&before).into_iter().zip(kinds(&ring.to_wire())) {
                assert_eq!(after[0], before[1]);
                let ids: BTreeSet<_> = after.iter().map(|key| key.id).collect();
                assert_eq!(ids.len(), after.len(), "an id names one key");
            }
        }
        let keys = ring.to_wire();
        assert_eq!((keys.ticket.len(), keys.retry.len()), (3, 3));
        assert_eq!((keys.cid.len(), keys.reset.len()), (7, 7));
    }

    #[test]
    fn a_ring_of_an_older_version_goes_on() {
        let secret = |id: u32, length| json!({"id": id, "material": BASE64_STANDARD.encode(vec![id as u8; length])});
        let old = json!({
            "rotated_at_ms": 5,
            "ticket": [secret(9, 48), secret(8, 48)],
            "retry": [secret(9, 32), secret(8, 32)],
            "reset": [secret(9, 32), secret(8, 32)],
            "cid": (0..6).map(|age| secret((9 - age) % 7, 16)).collect::<Vec<_>>(),
        });
        let ring: KeyRing = serde_json::from_value(old).unwrap();
        assert!(ring.is_complete());
        let before = ring.to_wire();
        assert_eq!((before.ticket[0].id, before.ticket.len()), (9, 2));
        let rotated = ring.rotated(&mut SysRng, 6).unwrap();
        assert!(rotated.is_complete());
        let after = rotated.to_wire();
        for (before, after) in kinds(&before).into_iter().zip(kinds(&after)) {
            assert_eq!(after[2], before[0], "what was in use is accepted");
        }
        assert_eq!((after.reset.len(), after.cid.len()), (4, 7));
    }

    #[test]
    fn what_is_written_reads_back_and_a_short_or_repeated_key_is_noticed() {
        let ring = KeyRing::generate(&mut SysRng, 7).unwrap();
        let json = serde_json::to_value(&ring).unwrap();
        assert!(serde_json::from_value::<KeyRing>(json.clone()).unwrap() == ring);
        let is_complete = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut json = json.clone();
            change(&mut json);
            serde_json::from_value::<KeyRing>(json)
                .unwrap()
                .is_complete()
        };
        assert!(is_complete(&|_| {}));
        assert!(!is_complete(
            &|json| json["retry"][0]["material"] = "AAAA".into()
        ));
        assert!(!is_complete(
            &|json| json["next"]["reset"]["material"] = "AAAA".into()
        ));
        assert!(!is_complete(
            &|json| json["next"]["cid"]["id"] = json["cid"][0]["id"].clone()
        ));
        assert!(!is_complete(&|json| json["cid"][0]["id"] = 7.into()));
    }
}
