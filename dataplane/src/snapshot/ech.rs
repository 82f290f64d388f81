//! Keys for encrypted ClientHellos.

use std::fmt;

use boring::{error::ErrorStack, hpke::HpkeKey, ssl::SslEchKeys};
use tidegate_proto::v1;

use super::{binding::Scheme, problems::Object};

/// A config (RFC 9849 4) with its private key.
#[derive(Clone, PartialEq, Eq)]
pub struct EchKey {
    pub config: Vec<u8>,
    private_key: [u8; 32],
    /// Clients that come with an unknown config are told this one.
    pub offered: bool,
}

impl EchKey {
    /// Keys as BoringSSL uses them, in order of preference.
    ///
    /// # Errors
    /// When BoringSSL does not take a config, or a key is not of it.
    pub fn together<'a>(
        keys: impl IntoIterator<Item = &'a Self>,
    ) -> Result<SslEchKeys, ErrorStack> {
        let mut together = SslEchKeys::builder()?;
        for key in keys {
            let private_key = HpkeKey::dhkem_p256_sha256(&key.private_key)?;
            together.add_key(key.offered, &key.config, private_key)?;
        }
        Ok(together.build())
    }
}

impl fmt::Debug for EchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EchKey")
            .field("offered", &self.offered)
            .finish_non_exhaustive()
    }
}

pub(super) fn parse(
    wire: &[v1::EchKey],
    scheme: Option<Scheme>,
    object: &mut Object<'_>,
) -> Option<Vec<EchKey>> {
    if wire.is_empty() {
        return Some(Vec::new());
    }
    if scheme == Some(Scheme::Http) {
        let message = "is set with HTTP; remove it or change the protocol to HTTPS";
        object.refuse("ech_keys", message);
    }
    let mut keys = Vec::new();
    for (index, wire) in wire.iter().enumerate() {
        let key = parse_key(wire)
            .ok_or("is no ECHConfig of X25519 with its private key; give both as they were made");
        keys.extend(object.accept(format!("ech_keys[{index}]"), key));
    }
    if !wire.iter().any(|key| key.offered) {
        let message = "has none that is offered; clients with unknown ones need one to go on with";
        object.refuse("ech_keys", message);
    }
    (keys.len() == wire.len()).then_some(keys)
}

fn parse_key(wire: &v1::EchKey) -> Option<EchKey> {
    let key = EchKey {
        config: wire.config.to_vec(),
        private_key: wire.private_key.as_ref().try_into().ok()?,
        offered: wire.offered,
    };
    // BoringSSL judges now, rather than when they are to be used.
    EchKey::together([&key]).ok()?;
    Some(key)
}
