//! Session tickets (RFC 5077 4) with keys that all shards and dataplanes share: AES-128-CBC
//! and HMAC-SHA256. The first key makes tickets; all of them read.

use std::sync::Arc;

use boring::{hash::MessageDigest, sha::Sha256, ssl::SslContextBuilder, symm::Cipher};
use rand::RngExt as _;

use crate::{
    snapshot::TicketKey,
    sys::{self, CipherCtxRef, HmacCtxRef, TicketKeyCallbackResult},
};

/// The keys; the first one makes.
#[derive(Clone)]
pub struct Tickets {
    keys: Arc<[TicketKey]>,
    /// Of all of them.
    pub(super) fingerprint: [u8; 32],
}

impl Tickets {
    pub fn new(keys: &[TicketKey]) -> Self {
        let mut hash = Sha256::new();
        for key in keys {
            hash.update(&key.name);
            hash.update(&key.hmac);
            hash.update(&key.aes);
        }
        Self {
            keys: keys.into(),
            fingerprint: hash.finish(),
        }
    }

    pub(super) fn install(&self, builder: &mut SslContextBuilder) {
        install(builder, self.keys.clone());
        sys::set_num_tickets(builder, TICKETS);
    }
}

fn install(builder: &mut SslContextBuilder, keys: Arc<[TicketKey]>) {
    sys::set_ticket_key_callback(builder, move |name, iv, cipher, hmac, making| {
        let key = if making {
            keys.first()
        } else {
            keys.iter().find(|key| key.name == *name)
        };
        // Without the key there is a full handshake.
        let Some(key) = key else {
            return TicketKeyCallbackResult::Noop;
        };
        set_up(key, name, iv, cipher, hmac, making).unwrap_or(TicketKeyCallbackResult::Error)
    });
}

fn set_up(
    key: &TicketKey,
    name: &mut [u8; 16],
    iv: &mut [u8; 16],
    cipher: &mut CipherCtxRef,
    hmac: &mut HmacCtxRef,
    making: bool,
) -> Option<TicketKeyCallbackResult> {
    if making {
        *name = key.name;
        *iv = rand::rng().random();
        cipher
            .init_encrypt(&Cipher::aes_128_cbc(), &key.aes, iv)
            .ok()?;
    } else {
        cipher
            .init_decrypt(&Cipher::aes_128_cbc(), &key.aes, iv)
            .ok()?;
    }
    hmac.init(&key.hmac, &MessageDigest::sha256()).ok()?;
    Some(TicketKeyCallbackResult::Success)
}

/// Each resumption brings another one. BoringSSL would send two.
const TICKETS: usize = 1;
