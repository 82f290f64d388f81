//! Encrypted ClientHello (RFC 9849): key pairs, as operators keep them in a Secret.
//!
//! Owns what such a Secret looks like. Under `ech.pem` are the pairs whose configs clients
//! are to use; whoever comes with an unknown one is told them. Under `previous.pem` are
//! those that only read what clients still encrypt to them. Both are in the form of
//! RFC 9934. `translate` reads them, `tidegate ech generate` makes them. Pure but for the
//! key that [`EchKeys::renewed`] makes. Private keys are never logged.

mod config;
mod manifest;
mod pem;

use boring::{
    error::ErrorStack,
    hpke::HpkeKey,
    pkey::{Id, PKey},
    ssl::SslEchKeys,
};

use self::config::EchConfig;

/// In a Secret, the pairs that clients are to use.
pub const CURRENT: &str = "ech.pem";
/// In a Secret, the pairs that clients may still use.
pub const PREVIOUS: &str = "previous.pem";

/// A config with its private key. It has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct EchPair {
    config: EchConfig,
    private_key: [u8; KEY_LENGTH],
}

/// The pairs of a Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct EchKeys {
    /// At least one.
    current: Vec<EchPair>,
    previous: Vec<EchPair>,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum EchError {
    /// What was given cannot be used; says why, and what to do.
    #[error("{0}")]
    Invalid(String),
    /// BoringSSL made no key.
    #[error("no key could be made: {0}")]
    Boring(#[from] ErrorStack),
}

impl EchPair {
    /// A new key for clients that are to say `public_name` in clear.
    fn generate(public_name: &str, id: u8) -> Result<Self, ErrorStack> {
        let key = PKey::generate(Id::X25519)?;
        let (mut private_key, mut public_key) = ([0; KEY_LENGTH], [0; KEY_LENGTH]);
        key.raw_private_key(&mut private_key)?;
        key.raw_public_key(&mut public_key)?;
        Ok(Self {
            config: EchConfig::new(id, &public_key, public_name),
            private_key,
        })
    }

    /// Pairs a config with the key that was kept with it.
    fn new(config: EchConfig, private_key: [u8; KEY_LENGTH]) -> Result<Self, &'static str> {
        let pair = Self {
            config,
            private_key,
        };
        if pair.is_sound() {
            Ok(pair)
        } else {
            Err(
                "has a config that is not of its private key, or asks for more than \
                 DHKEM(X25519, HKDF-SHA256) with HKDF-SHA256",
            )
        }
    }

    /// Asks who will have to use it.
    fn is_sound(&self) -> bool {
        let add = || {
            let key = HpkeKey::dhkem_p256_sha256(&self.private_key)?;
            SslEchKeys::builder()?.add_key(true, self.config.bytes(), key)
        };
        add().is_ok()
    }

    /// The ECHConfig (RFC 9849 4).
    pub fn config(&self) -> &[u8] {
        self.config.bytes()
    }

    /// Of X25519.
    pub fn private_key(&self) -> &[u8] {
        &self.private_key
    }

    /// The server name that clients say in clear.
    pub fn public_name(&self) -> &str {
        self.config.public_name()
    }
}

impl EchKeys {
    /// Reads what a Secret has under [`CURRENT`] and [`PREVIOUS`]; the latter may be empty.
    ///
    /// # Errors
    /// Names the place and the remedy, and quotes nothing.
    pub fn read(current: &[u8], previous: &[u8]) -> Result<Self, EchError> {
        let read = |name: &str, text: &[u8]| {
            pem::read(text).map_err(|problem| {
                EchError::Invalid(format!(
                    "{name} {problem}; put what `tidegate ech generate` prints there, or another PRIVATE KEY with \
                     its ECHCONFIG"
                ))
            })
        };
        let keys = Self {
            current: read(CURRENT, current)?,
            previous: read(PREVIOUS, previous)?,
        };
        if keys.current.is_empty() {
            return Err(EchError::Invalid(format!(
                "there is no key under {CURRENT}; put what `tidegate ech generate` prints there"
            )));
        }
        Ok(keys)
    }

    /// One new pair for `public_name`, and those of `before` as previous ones, the newest of
    /// them.
    ///
    /// # Errors
    /// When `public_name` is no host name, or there is no randomness.
    pub fn renewed(public_name: &str, before: Option<Self>) -> Result<Self, EchError> {
        crate::translate::check_host_name(public_name).map_err(EchError::Invalid)?;
        let mut previous = before.map_or_else(Vec::new, |before| {
            [before.current, before.previous].concat()
        });
        previous.truncate(MOST_PREVIOUS);
        // Two of the same number would have to be tried in turn.
        let taken = |id: &u8| previous.iter().any(|pair| pair.config.id() == *id);
        let id = loop {
            let id = rand::random();
            if !taken(&id) {
                break id;
            }
        };
        Ok(Self {
            current: vec![EchPair::generate(public_name, id)?],
            previous,
        })
    }

    /// Those that clients are told, in order of preference.
    pub fn current(&self) -> &[EchPair] {
        &self.current
    }

    /// Those that still read.
    pub fn previous(&self) -> &[EchPair] {
        &self.previous
    }

    /// The ECHConfigList for the `ech` parameter of an HTTPS record (RFC 9848).
    pub fn config_list(&self) -> Vec<u8> {
        config::list(self.current.iter().map(|pair| &pair.config))
    }
}

/// Of X25519, bytes.
const KEY_LENGTH: usize = 32;
/// Earlier pairs that a renewal keeps.
const MOST_PREVIOUS: usize = 3;

#[cfg(test)]
mod tests;
