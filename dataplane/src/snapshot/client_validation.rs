//! Certificates that clients must show.

use std::{collections::BTreeSet, fmt, sync::Arc};

use boring::{
    error::ErrorStack,
    sha::{Sha256, sha256},
    x509::{
        X509,
        store::{X509Store, X509StoreBuilder},
        verify::X509VerifyFlags,
    },
};
use tidegate_proto::v1;

use super::{binding::Scheme, problems::Object};

/// Whom a listener believes, and whether it insists.
#[derive(Clone)]
pub struct ClientValidation {
    /// At least one.
    pub authorities: Vec<X509>,
    /// A client without a certificate that verifies is turned away. Otherwise certificates
    /// are asked for and everybody is let in.
    pub required: bool,
    /// Fingerprints of the authorities.
    pub trusted: Arc<BTreeSet<[u8; 32]>>,
    /// Of all of it: a session that was verified under another one was not verified under this.
    pub fingerprint: [u8; 32],
}

impl ClientValidation {
    /// What chains have to lead to.
    ///
    /// # Errors
    /// When BoringSSL does not take a certificate.
    pub fn store(&self) -> Result<X509Store, ErrorStack> {
        let mut store = X509StoreBuilder::new()?;
        for authority in &self.authorities {
            store.add_cert(authority)?;
        }
        // An intermediate authority may be all that is to be trusted.
        store.set_flags(X509VerifyFlags::PARTIAL_CHAIN);
        Ok(store.build())
    }
}

impl PartialEq for ClientValidation {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl fmt::Debug for ClientValidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientValidation")
            .field("authorities", &self.authorities.len())
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}

/// An error is in `object`, and refuses the snapshot: nobody is let in for want of a check.
pub(super) fn parse(
    wire: Option<&v1::ClientValidation>,
    scheme: Option<Scheme>,
    object: &mut Object<'_>,
) -> Option<ClientValidation> {
    use v1::client_validation::Mode;
    let wire = wire?;
    if scheme == Some(Scheme::Http) {
        let message = "is set with HTTP; remove it or change the protocol to HTTPS";
        object.refuse("client_validation", message);
    }
    let authorities = X509::stack_from_pem(&wire.ca_pem).unwrap_or_default();
    if authorities.is_empty() {
        let message = "has no readable certificate; give the authorities of clients as PEM";
        object.refuse("client_validation.ca_pem", message);
        return None;
    }
    let required = match Mode::try_from(wire.mode) {
        Ok(Mode::Unspecified) => Ok(true),
        Ok(Mode::AllowInsecureFallback) => Ok(false),
        Err(_) => Err(format!(
            "{} is none that is known; use ALLOW_INSECURE_FALLBACK, or leave it out",
            wire.mode
        )),
    };
    let required = object.accept("client_validation.mode", required)?;
    let trusted = authorities.iter().map(|authority| authority.to_der());
    let trusted = trusted.filter_map(|der| Some(sha256(&der.ok()?)));
    let trusted = Arc::new(trusted.collect());
    let mut hash = Sha256::new();
    hash.update(&[u8::from(required)]);
    hash.update(&wire.ca_pem);
    Some(ClientValidation {
        authorities,
        required,
        trusted,
        fingerprint: hash.finish(),
    })
}
