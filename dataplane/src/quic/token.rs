//! Tokens that prove something without state: Retry tokens (RFC 9000 8.1.2) and
//! stateless reset tokens (RFC 9000 10.3.2). Both are keyed by the control plane's keys,
//! so that every shard, every pod and the process after a restart reads them.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use boring::{hash::hmac_sha256, memcmp};

use crate::snapshot::SecretKey;

/// How long a client may take to come back with its Retry token.
pub const RETRY_LIFETIME: Duration = Duration::from_secs(10);

/// What a valid Retry token says.
#[derive(Debug, PartialEq, Eq)]
pub struct RetryToken {
    /// Destination connection ID of the client's first Initial.
    pub original_dcid: Vec<u8>,
    /// When it was made.
    pub made: SystemTime,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidToken {
    /// Not of the form, or of an unknown key.
    Malformed,
    /// Made without the key, or for another address or connection ID.
    Forged,
    /// Older than [`RETRY_LIFETIME`], or from the future.
    Expired,
}

/// Makes a Retry token that only `peer` can use, with `retry_scid` as destination
/// connection ID: `key id (4) | milliseconds (8) | original DCID | HMAC-SHA256 (32)`.
pub fn seal_retry(
    key: &SecretKey,
    peer: SocketAddr,
    original_dcid: &[u8],
    retry_scid: &[u8],
    now: SystemTime,
) -> Vec<u8> {
    let mut token = Vec::with_capacity(HEAD_LEN + original_dcid.len() + MAC_LEN);
    token.extend_from_slice(&key.id.to_be_bytes());
    token.extend_from_slice(&millis(now).to_be_bytes());
    token.extend_from_slice(original_dcid);
    let mac = mac(key, &token, peer, retry_scid);
    token.extend_from_slice(&mac);
    token
}

/// Reads a Retry token that came from `peer` to the connection ID `retry_scid`.
///
/// # Errors
/// When it is not what [`seal_retry`] made for them within the last ten seconds.
pub fn open_retry(
    keys: &[SecretKey],
    token: &[u8],
    peer: SocketAddr,
    retry_scid: &[u8],
    now: SystemTime,
) -> Result<RetryToken, InvalidToken> {
    let (body, tag) = token
        .split_last_chunk::<MAC_LEN>()
        .ok_or(InvalidToken::Malformed)?;
    let (id, rest) = body
        .split_first_chunk::<4>()
        .ok_or(InvalidToken::Malformed)?;
    let (made, original_dcid) = rest
        .split_first_chunk::<8>()
        .ok_or(InvalidToken::Malformed)?;
    if original_dcid.len() > quiche::MAX_CONN_ID_LEN {
        return Err(InvalidToken::Malformed);
    }
    let id = u32::from_be_bytes(*id);
    let key = keys
        .iter()
        .find(|key| key.id == id)
        .ok_or(InvalidToken::Malformed)?;
    if !memcmp::eq(&mac(key, body, peer, retry_scid), tag) {
        return Err(InvalidToken::Forged);
    }
    let age = millis(now).checked_sub(u64::from_be_bytes(*made));
    match age.map(Duration::from_millis) {
        // Pods' clocks differ a little: a token from just ahead is as good as new.
        None if u64::from_be_bytes(*made) - millis(now) < 2_000 => {}
        Some(age) if age <= RETRY_LIFETIME => {}
        _ => return Err(InvalidToken::Expired),
    }
    Ok(RetryToken {
        original_dcid: original_dcid.to_vec(),
        made: SystemTime::UNIX_EPOCH + Duration::from_millis(u64::from_be_bytes(*made)),
    })
}

/// The stateless reset token of a connection ID.
pub fn reset_token(key: &SecretKey, cid: &[u8]) -> [u8; 16] {
    let digest = hmac_sha256(&key.secret, cid).expect("HMAC takes keys and data of any length");
    digest[..16].try_into().expect("a digest has 32 bytes")
}

/// A Stateless Reset for a packet of `trigger_len` bytes (RFC 9000 10.3): looks
/// like a short-header packet, ends in the token, and is smaller than what triggered it,
/// so that two endpoints cannot go on resetting each other. `None` if no such packet fits.
pub fn stateless_reset(token: [u8; 16], trigger_len: usize) -> Option<Vec<u8>> {
    let len = trigger_len.saturating_sub(1).min(RESET_MAX_LEN);
    if len < RESET_MIN_LEN {
        return None;
    }
    let mut packet = vec![0; len];
    let (random, end) = packet.split_at_mut(len - 16);
    boring::rand::rand_bytes(random).ok()?;
    random[0] = random[0] & 0x3f | 0x40;
    end.copy_from_slice(&token);
    Some(packet)
}

fn mac(key: &SecretKey, body: &[u8], peer: SocketAddr, retry_scid: &[u8]) -> [u8; MAC_LEN] {
    let mut data = Vec::with_capacity(body.len() + 18 + 1 + retry_scid.len());
    match peer {
        SocketAddr::V4(v4) => data.extend_from_slice(&v4.ip().to_ipv6_mapped().octets()),
        SocketAddr::V6(v6) => data.extend_from_slice(&v6.ip().octets()),
    }
    data.extend_from_slice(&peer.port().to_be_bytes());
    data.push(retry_scid.len() as u8);
    data.extend_from_slice(retry_scid);
    data.extend_from_slice(body);
    hmac_sha256(&key.secret, &data).expect("HMAC takes keys and data of any length")
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

const HEAD_LEN: usize = 12;
const MAC_LEN: usize = 32;
/// RFC 9000 10.3: 21 bytes at least.
const RESET_MIN_LEN: usize = 21;
/// Long enough to look like an ordinary small packet.
const RESET_MAX_LEN: usize = 42;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u32) -> SecretKey {
        SecretKey {
            id,
            secret: [id as u8; 32],
        }
    }

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    const SCID: &[u8] = b"retry-scid";
    const DCID: &[u8] = b"original";

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    #[test]
    fn a_token_is_good_for_its_address_and_id_alone() {
        let token = seal_retry(&key(1), peer(1), DCID, SCID, now());
        let open = |keys: &[SecretKey], peer, scid| open_retry(keys, &token, peer, scid, now());
        assert_eq!(open(&[key(1)], peer(1), SCID).unwrap().original_dcid, DCID);
        assert_eq!(open(&[key(1)], peer(2), SCID), Err(InvalidToken::Forged));
        assert_eq!(
            open(&[key(1)], peer(1), b"other"),
            Err(InvalidToken::Forged)
        );
        assert_eq!(open(&[key(2)], peer(1), SCID), Err(InvalidToken::Malformed));
        assert!(
            open(&[key(2), key(1)], peer(1), SCID).is_ok(),
            "the key before is accepted"
        );
    }

    #[test]
    fn a_token_expires() {
        let token = seal_retry(&key(1), peer(1), DCID, SCID, now());
        let open = |at| open_retry(&[key(1)], &token, peer(1), SCID, at);
        assert!(open(now() + RETRY_LIFETIME).is_ok());
        assert_eq!(
            open(now() + RETRY_LIFETIME + Duration::from_millis(1)),
            Err(InvalidToken::Expired)
        );
        assert!(open(now() - Duration::from_secs(1)).is_ok());
        assert_eq!(
            open(now() - Duration::from_secs(3)),
            Err(InvalidToken::Expired)
        );
    }

    #[test]
    fn no_changed_bit_passes() {
        let token = seal_retry(&key(1), peer(1), DCID, SCID, now());
        for bit in 0..token.len() * 8 {
            let mut forged = token.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(
                open_retry(&[key(1)], &forged, peer(1), SCID, now()).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn garbage_of_any_length_is_refused() {
        for len in 0..1500 {
            assert!(open_retry(&[key(1)], &vec![1; len], peer(1), SCID, now()).is_err());
        }
    }

    #[test]
    fn a_reset_is_smaller_than_its_trigger_and_ends_in_the_token() {
        for trigger in 1..1500 {
            match stateless_reset(reset_token(&key(1), b"cid"), trigger) {
                None => assert!(trigger <= RESET_MIN_LEN, "{trigger}"),
                Some(packet) => {
                    assert!(packet.len() < trigger && packet.len() >= RESET_MIN_LEN);
                    assert_eq!(packet[0] & 0xc0, 0x40);
                    assert_eq!(packet[packet.len() - 16..], reset_token(&key(1), b"cid"));
                }
            }
        }
        assert_ne!(reset_token(&key(1), b"a"), reset_token(&key(1), b"b"));
    }
}
