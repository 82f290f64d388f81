//! The certificate authority of this control plane: all replicas sign with it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::pki_types::{
    CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject,
};
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use super::{
    identity::Identity,
    roots::{Roots, SKEW_MS, date},
    vault::{Vault, VaultError},
};
use crate::clock::unix_millis;

/// Life of what is issued. A holder gets the next one at half of it.
pub(crate) const LEAF_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// How often the vault is looked into: another replica may have renewed the roots.
const PACE: Duration = Duration::from_secs(60);
/// Others write at the same time only once in a while.
const ATTEMPTS: usize = 8;

/// Why there is no authority, or no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The roots cannot be read or written.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// What is kept is something else.
    #[error(
        "{0} is damaged: put a copy back, or remove it to begin with a new certificate authority, \
         which every dataplane then has to be told of"
    )]
    Damaged(String),
    /// Replicas that write all the time.
    #[error("{0} changes whenever it is to be written: try again")]
    Contended(String),
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refuses what was made.
    #[error("cannot use a certificate: {0}")]
    Tls(#[from] rustls::Error),
}

/// The roots, kept in a vault and renewed in time.
pub struct Authority {
    vault: Arc<dyn Vault>,
    roots: Mutex<Arc<Roots>>,
    bundle: watch::Sender<String>,
}

/// A certificate of a dataplane.
pub(crate) struct Issued {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) issued_at_ms: i64,
    pub(crate) expires_at_ms: i64,
}

impl Authority {
    /// Reads the roots, or makes them if nobody has.
    pub async fn open(vault: Arc<dyn Vault>) -> Result<Arc<Self>, TrustError> {
        let roots = current(&*vault, unix_millis()).await?;
        let bundle = watch::Sender::new(roots.bundle(unix_millis()));
        Ok(Arc::new(Self {
            vault,
            roots: Mutex::new(Arc::new(roots)),
            bundle,
        }))
    }

    /// PEM of all roots that are to be trusted, and a wake-up whenever they change.
    pub fn bundle(&self) -> watch::Receiver<String> {
        self.bundle.subscribe()
    }

    /// Renews the roots, and takes in what other replicas renewed, for ever.
    pub(crate) async fn keep(&self) -> anyhow::Error {
        loop {
            sleep(PACE).await;
            match current(&*self.vault, unix_millis()).await {
                Ok(roots) => self.replace(roots, unix_millis()),
                Err(error) => {
                    warn!(%error, "the certificate authority cannot be read; the one known serves on");
                }
            }
        }
    }

    fn replace(&self, roots: Roots, now_ms: i64) {
        let bundle = roots.bundle(now_ms);
        *self.roots.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(roots);
        self.bundle.send_if_modified(|known| {
            let changed = *known != bundle;
            if changed {
                info!("the certificate authority has changed");
                *known = bundle;
            }
            changed
        });
    }

    fn roots(&self) -> Arc<Roots> {
        Arc::clone(&self.roots.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A certificate for the key in a request, with what `identity` says and nothing else
    /// of what was asked.
    pub(crate) fn issue_client(
        &self,
        request: &[u8],
        identity: &Identity,
        now_ms: i64,
    ) -> Result<Issued, TrustError> {
        let request = CertificateSigningRequestParams::from_der(
            &CertificateSigningRequestDer::from(request),
        )?;
        let mut params = leaf(&identity.dataplane, ExtendedKeyUsagePurpose::ClientAuth);
        params.subject_alt_names = vec![SanType::URI(identity.to_uri().try_into()?)];
        self.issue(params, &request.public_key, now_ms)
    }

    /// A certificate for this control plane, with a new key.
    pub(crate) fn issue_server(
        &self,
        names: &[String],
        now_ms: i64,
    ) -> Result<(Issued, PrivateKeyDer<'static>), TrustError> {
        let key = KeyPair::generate()?;
        let mut params = leaf("tidegate-controlplane", ExtendedKeyUsagePurpose::ServerAuth);
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        let issued = self.issue(params, &key, now_ms)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok((issued, key.into()))
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
        now_ms: i64,
    ) -> Result<Issued, TrustError> {
        let roots = self.roots();
        let signer = roots
            .signer(now_ms)
            .ok_or_else(|| TrustError::Damaged(self.vault.name()))?;
        let expires_at_ms = now_ms + LEAF_LIFE.as_millis() as i64;
        params.not_before = date(now_ms - SKEW_MS);
        params.not_after = date(expires_at_ms);
        let certificate = params.signed_by(key, &signer.issuer()?)?;
        Ok(Issued {
            certificate: certificate.der().clone(),
            issued_at_ms: now_ms,
            expires_at_ms,
        })
    }

    /// All roots that are to be trusted, DER.
    pub(crate) fn trusted(&self) -> Vec<CertificateDer<'static>> {
        let bundle = self.bundle.borrow().clone();
        CertificateDer::pem_slice_iter(bundle.as_bytes())
            .filter_map(Result::ok)
            .collect()
    }
}

fn leaf(name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // RFC 5280 A.1: at most 64 characters.
    let name: String = name.chars().take(64).collect();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params
}

/// What all replicas agree on: read, and written first where something is due.
async fn current(vault: &dyn Vault, now_ms: i64) -> Result<Roots, TrustError> {
    for _ in 0..ATTEMPTS {
        let kept = vault.read().await?;
        let due = match &kept {
            None => Some(Roots::generate(now_ms)?),
            Some(kept) => {
                let roots: Option<Roots> = serde_json::from_str(&kept.text).ok();
                let roots = roots
                    .filter(Roots::is_usable)
                    .ok_or_else(|| TrustError::Damaged(vault.name()))?;
                match roots.renewed(now_ms)? {
                    None => return Ok(roots),
                    renewed => renewed,
                }
            }
        };
        if let Some(roots) = due {
            let text = serde_json::to_string_pretty(&roots)
                .map_err(|_| TrustError::Damaged(vault.name()))?;
            if vault
                .write(&text, &roots.bundle(now_ms), kept.as_ref())
                .await?
            {
                info!(vault = vault.name(), "made a root of trust");
                return Ok(roots);
            }
        }
    }
    Err(TrustError::Contended(vault.name()))
}

#[cfg(test)]
mod tests;
