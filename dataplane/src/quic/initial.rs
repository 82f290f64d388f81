//! Initial packets with which a server closes a connection (RFC 9000 10.2.3, RFC 9001 5).
//!
//! A client whose first flight is refused may not have the keys of the handshake, and cannot
//! read the Handshake packet in which quiche then sends the close: it would wait until it
//! gives up. Initial packets it can always read.

use aes::{
    Aes128,
    cipher::{Array, BlockCipherEncrypt, KeyInit},
};
use boring::{
    error::ErrorStack,
    hash::hmac_sha256,
    symm::{Cipher, encrypt_aead},
};

/// A CONNECTION_CLOSE of the transport for a connection whose client first called it
/// `dcid`, from `source` to `destination`.
///
/// # Errors
/// When BoringSSL cannot.
pub(crate) fn close(
    dcid: &[u8],
    source: &[u8],
    destination: &[u8],
    error_code: u64,
) -> Result<Vec<u8>, ErrorStack> {
    // A CONNECTION_CLOSE frame with no frame type and no reason.
    let mut frames = vec![0x1c];
    frames.extend((error_code | 0xc000_0000_0000_0000).to_be_bytes());
    frames.extend([0, 0]);
    let keys = Keys::of(dcid, b"server in")?;
    let header = header(source, destination, frames.len());
    keys.protect(header, NUMBER, &frames)
}

/// A client's Initial packet with whatever frames: for those who test what reads them.
///
/// # Errors
/// When BoringSSL cannot.
#[cfg(debug_assertions)]
pub(crate) fn of_client(
    dcid: &[u8],
    source: &[u8],
    number: u16,
    frames: &[u8],
) -> Result<Vec<u8>, ErrorStack> {
    let header = header(source, dcid, frames.len());
    Keys::of(dcid, b"client in")?.protect(header, number, frames)
}

/// The header, its packet number but for.
fn header(source: &[u8], destination: &[u8], frames: usize) -> Vec<u8> {
    let mut header = vec![0xc0 | (NUMBER_LEN as u8 - 1)];
    header.extend(VERSION_1);
    for id in [destination, source] {
        header.push(id.len() as u8);
        header.extend(id);
    }
    // No token; then the length of what follows.
    header.push(0);
    let length = NUMBER_LEN + frames + TAG_LEN;
    header.extend((length as u16 | 0x4000).to_be_bytes());
    header
}

struct Keys {
    key: [u8; 16],
    iv: [u8; 12],
    header: Aes128,
}

impl Keys {
    /// RFC 9001 5.2.
    fn of(dcid: &[u8], side: &[u8]) -> Result<Self, ErrorStack> {
        let initial = hmac_sha256(&SALT, dcid)?;
        let secret: [u8; 32] = expand_label(&initial, side)?;
        let protection: [u8; 16] = expand_label(&secret, b"quic hp")?;
        Ok(Self {
            key: expand_label(&secret, b"quic key")?,
            iv: expand_label(&secret, b"quic iv")?,
            header: Aes128::new(&protection.into()),
        })
    }

    /// RFC 9001 5.3 and 5.4.
    fn protect(
        &self,
        mut packet: Vec<u8>,
        number: u16,
        frames: &[u8],
    ) -> Result<Vec<u8>, ErrorStack> {
        let number_at = packet.len();
        packet.extend(number.to_be_bytes());
        let mut nonce = self.iv;
        for (byte, number) in nonce
            .iter_mut()
            .rev()
            .zip(number.to_be_bytes().iter().rev())
        {
            *byte ^= number;
        }
        let (cipher, mut tag) = (Cipher::aes_128_gcm(), [0; TAG_LEN]);
        let sealed = encrypt_aead(cipher, &self.key, Some(&nonce), &packet, frames, &mut tag)?;
        packet.extend(sealed);
        packet.extend(tag);
        let sample_at = number_at + SAMPLE_AT;
        let mut mask = Array::from([0; 16]);
        mask.copy_from_slice(&packet[sample_at..sample_at + 16]);
        self.header.encrypt_block(&mut mask);
        packet[0] ^= mask[0] & 0x0f;
        for (byte, mask) in packet[number_at..number_at + NUMBER_LEN]
            .iter_mut()
            .zip(&mask[1..])
        {
            *byte ^= mask;
        }
        Ok(packet)
    }
}

/// HKDF-Expand-Label (RFC 8446 7.1) without a context, of at most one hash.
fn expand_label<const N: usize>(secret: &[u8; 32], label: &[u8]) -> Result<[u8; N], ErrorStack> {
    const { assert!(N <= 32) };
    let mut info = vec![0, N as u8, (LABEL_PREFIX.len() + label.len()) as u8];
    info.extend(LABEL_PREFIX);
    info.extend(label);
    info.extend([0, 1]);
    let block = hmac_sha256(secret, &info)?;
    let mut out = [0; N];
    out.copy_from_slice(&block[..N]);
    Ok(out)
}

const VERSION_1: [u8; 4] = [0, 0, 0, 1];
const SALT: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad,
    0xcc, 0xbb, 0x7f, 0x0a,
];
const LABEL_PREFIX: &[u8] = b"tls13 ";
/// Beyond any number that quiche has used by then, so that no nonce is used twice.
const NUMBER: u16 = 0x4000;
const NUMBER_LEN: usize = 2;
const TAG_LEN: usize = 16;
/// From the packet number to the sample (RFC 9001 5.4.2).
const SAMPLE_AT: usize = 4;

#[cfg(test)]
mod tests {
    use rustls::{
        Side,
        crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
        quic::{Keys as RustlsKeys, Version},
    };

    use super::*;

    const DCID: [u8; 8] = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];

    #[test]
    fn keys_are_those_of_the_rfc() {
        // RFC 9001 A.1.
        let keys = Keys::of(&DCID, b"server in").unwrap();
        assert_eq!(
            u128::from_be_bytes(keys.key),
            0xcf3a_5331_653c_364c_88f0_f379_b606_7e37
        );
        assert_eq!(keys.iv[..4], [0x0a, 0xc1, 0x49, 0x3c]);
    }

    #[test]
    fn another_stack_reads_the_close() {
        let (source, destination) = ([7; 17], [9; 8]);
        let mut packet = close(&DCID, &source, &destination, 0x08).unwrap();
        let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
        let suite = suite.quic_suite().unwrap();
        let keys: RustlsKeys = suite.keys(&DCID, Side::Client, Version::V1);
        let number_at = 1 + 4 + 1 + destination.len() + 1 + source.len() + 1 + 2;
        assert_eq!(packet[6..14], destination);
        let (header, rest) = packet.split_at_mut(number_at + 4);
        let (head, number) = header.split_at_mut(number_at);
        keys.remote
            .header
            .decrypt_in_place(&rest[..16], &mut head[0], number)
            .unwrap();
        assert_eq!((head[0], &number[..2]), (0xc1, &[0x40, 0][..]));
        let (header, payload) = packet.split_at_mut(number_at + 2);
        let frames = keys
            .remote
            .packet
            .decrypt_in_place(0x4000, header, payload)
            .unwrap();
        assert_eq!(frames, [0x1c, 0xc0, 0, 0, 0, 0, 0, 0, 8, 0, 0]);
    }
}
