//! Encrypted ClientHello for rustls, which brings HPKE (RFC 9180) with another provider only.
//! Clients seal and open nothing, so no more than that is here, in one suite.

use std::sync::Arc;

use boring::{
    derive::Deriver,
    hash::hmac_sha256,
    pkey::{Id, PKey},
    symm::{Cipher, encrypt_aead},
};
use rustls::{
    ClientConfig, Error,
    client::{EchConfig, EchGreaseConfig, EchMode},
    crypto::hpke::{
        EncapsulatedSecret, Hpke, HpkeOpener, HpkePrivateKey, HpkePublicKey, HpkeSealer, HpkeSuite,
    },
    internal::msgs::{
        enums::{HpkeAead, HpkeKdf, HpkeKem},
        handshake::HpkeSymmetricCipherSuite,
    },
    pki_types::EchConfigListBytes,
};

use super::Target;
use crate::Authority;

impl Target {
    /// The same, with hellos encrypted to one of these configs (RFC 9849 4) and tickets of
    /// its own.
    #[must_use]
    pub fn encrypted(&self, authority: &Authority, config_list: &[u8]) -> Self {
        let list = EchConfigListBytes::from(config_list.to_vec());
        let config = EchConfig::new(list, &[&SUITE]).expect("a config of the suite");
        self.with_ech(authority, EchMode::Enable(config))
    }

    /// The same, with hellos that look as if (RFC 9849 6.2).
    #[must_use]
    pub fn as_if_encrypted(&self, authority: &Authority) -> Self {
        let mut key = vec![0; 32];
        let pair = PKey::generate(Id::X25519).expect("BoringSSL has X25519");
        pair.raw_public_key(&mut key).expect("it has 32 bytes");
        let grease = EchGreaseConfig::new(&SUITE, HpkePublicKey(key));
        self.with_ech(authority, EchMode::Grease(grease))
    }

    fn with_ech(&self, authority: &Authority, mode: EchMode) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_ech(mode)
            .expect("the provider has TLS 1.3")
            .with_root_certificates(authority.roots())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h3".to_vec()];
        Self {
            tls: Some(Arc::new(config)),
            ..self.clone()
        }
    }
}

/// DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM.
#[derive(Debug)]
struct Suite;

static SUITE: Suite = Suite;

#[derive(Debug)]
struct Sealer {
    key: Vec<u8>,
    nonce: Vec<u8>,
    sealed: u8,
}

impl Hpke for Suite {
    fn seal(
        &self,
        info: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        public: &HpkePublicKey,
    ) -> Result<(EncapsulatedSecret, Vec<u8>), Error> {
        let (secret, mut sealer) = self.setup_sealer(info, public)?;
        Ok((secret, sealer.seal(aad, plaintext)?))
    }

    fn setup_sealer(
        &self,
        info: &[u8],
        public: &HpkePublicKey,
    ) -> Result<(EncapsulatedSecret, Box<dyn HpkeSealer + 'static>), Error> {
        let (ours, shared) = encapsulate(&public.0).ok_or_else(|| Error::General("HPKE".into()))?;
        // RFC 9180 5.1, base mode.
        let context = [
            vec![0],
            extract(&HPKE, &[], b"psk_id_hash", &[]),
            extract(&HPKE, &[], b"info_hash", info),
        ]
        .concat();
        let secret = extract(&HPKE, &shared, b"secret", &[]);
        let sealer = Sealer {
            key: expand(&HPKE, &secret, b"key", &context, 16),
            nonce: expand(&HPKE, &secret, b"base_nonce", &context, 12),
            sealed: 0,
        };
        Ok((EncapsulatedSecret(ours), Box::new(sealer)))
    }

    fn open(
        &self,
        _: &EncapsulatedSecret,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: &HpkePrivateKey,
    ) -> Result<Vec<u8>, Error> {
        Err(Error::General("clients open nothing".into()))
    }

    fn setup_opener(
        &self,
        _: &EncapsulatedSecret,
        _: &[u8],
        _: &HpkePrivateKey,
    ) -> Result<Box<dyn HpkeOpener + 'static>, Error> {
        Err(Error::General("clients open nothing".into()))
    }

    fn generate_key_pair(&self) -> Result<(HpkePublicKey, HpkePrivateKey), Error> {
        Err(Error::General("clients have no key of their own".into()))
    }

    fn suite(&self) -> HpkeSuite {
        HpkeSuite {
            kem: HpkeKem::DHKEM_X25519_HKDF_SHA256,
            sym: HpkeSymmetricCipherSuite {
                kdf_id: HpkeKdf::HKDF_SHA256,
                aead_id: HpkeAead::AES_128_GCM,
            },
        }
    }
}

impl HpkeSealer for Sealer {
    fn seal(&mut self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        let mut nonce = self.nonce.clone();
        nonce[11] ^= self.sealed;
        self.sealed += 1;
        let mut tag = [0; 16];
        let cipher = Cipher::aes_128_gcm();
        let mut sealed = encrypt_aead(cipher, &self.key, Some(&nonce), aad, plaintext, &mut tag)
            .map_err(|error| Error::General(error.to_string()))?;
        sealed.extend(tag);
        Ok(sealed)
    }
}

/// RFC 9180 4.1: the encapsulated key, and the secret that it shares.
fn encapsulate(public: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let theirs = PKey::public_key_from_der(&[&SPKI_X25519[..], public].concat()).ok()?;
    let pair = PKey::generate(Id::X25519).ok()?;
    let mut ours = vec![0; 32];
    pair.raw_public_key(&mut ours).ok()?;
    let mut deriver = Deriver::new(&pair).ok()?;
    deriver.set_peer(&theirs).ok()?;
    let secret = extract(&KEM, &[], b"eae_prk", &deriver.derive_to_vec().ok()?);
    let context = [&ours, public].concat();
    let shared = expand(&KEM, &secret, b"shared_secret", &context, 32);
    Some((ours, shared))
}

/// `LabeledExtract` of RFC 9180 4.
fn extract(suite: &[u8], salt: &[u8], label: &[u8], input: &[u8]) -> Vec<u8> {
    hmac(salt, &[VERSION, suite, label, input].concat())
}

/// `LabeledExpand`, for at most one block.
fn expand(suite: &[u8], secret: &[u8], label: &[u8], info: &[u8], length: u8) -> Vec<u8> {
    let info = [&[0, length][..], VERSION, suite, label, info, &[1]].concat();
    let mut block = hmac(secret, &info);
    block.truncate(length.into());
    block
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let digest = hmac_sha256(key, data).expect("HMAC takes keys and data of any length");
    digest.to_vec()
}

const VERSION: &[u8] = b"HPKE-v1";
/// Suites as RFC 9180 names them, of the KEM and of all three.
const KEM: [u8; 5] = *b"KEM\x00\x20";
const HPKE: [u8; 10] = *b"HPKE\x00\x20\x00\x01\x00\x01";
/// What a public key of X25519 begins with (RFC 8410 4).
const SPKI_X25519: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00,
];
