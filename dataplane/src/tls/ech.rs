//! Encrypted ClientHello (RFC 9849): the keys of a port, and what became of hellos.
//!
//! BoringSSL decrypts before it asks for a context, so server name, certificate and early
//! data are those of the hello within. What it cannot decrypt goes on by the name that was
//! said in clear, and the client is told the keys that are offered.

use std::collections::HashSet;

use boring::{
    error::ErrorStack,
    ssl::{ClientHello, ExtensionType, SslEchKeys},
};

use crate::{
    metrics::Counter,
    snapshot::{Binding, EchKey},
};

/// ClientHellos where there are keys.
#[derive(Debug, Default)]
pub struct EchCounts {
    /// They were decrypted.
    pub accepted: Counter,
    /// They were not: they are of a key that is not known, or encrypt nothing, which looks
    /// the same (RFC 9849 6.2).
    pub rejected: Counter,
}

impl EchCounts {
    pub(super) fn note(&self, hello: &ClientHello<'_>) {
        if hello.ssl().ech_accepted() {
            self.accepted.one();
        } else if hello
            .get_extension(ExtensionType::ENCRYPTED_CLIENT_HELLO)
            .is_some()
        {
            self.rejected.one();
        }
    }
}

/// The keys of all listeners of a binding: which of them a client means is in what they
/// decrypt.
pub(super) fn keys(binding: &Binding) -> Result<Option<SslEchKeys>, ErrorStack> {
    let mut known = HashSet::new();
    let keys: Vec<&EchKey> = binding
        .listeners
        .iter()
        .flat_map(|listener| &listener.ech_keys)
        .filter(|key| known.insert(&key.config))
        .collect();
    if keys.is_empty() {
        return Ok(None);
    }
    EchKey::together(keys).map(Some)
}
