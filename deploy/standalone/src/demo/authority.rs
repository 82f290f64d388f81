//! The demo's certificate authority: made once, kept in the state folder, so that what
//! trusts it today trusts it after a restart.

use std::path::Path;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use super::files::{private_file, public_file};
use crate::state;

const NAME: &str = "Tidegate demo authority";
/// Names and addresses that the demo's server certificate is good for.
const SERVER_NAMES: [&str; 4] = ["localhost", "demo.localhost", "127.0.0.1", "::1"];
const AUTHORITY_LIFE: Duration = Duration::days(3_650);
/// Longer than 825 days is refused by Apple's clients.
const SERVER_LIFE: Duration = Duration::days(800);

pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// False when it was read from the state folder.
    pub(super) made_now: bool,
}

/// A server certificate and its key.
pub(super) struct ServerCertificate {
    pub(super) chain_pem: String,
    pub(super) key_pem: String,
}

impl Authority {
    /// Reads `ca.crt` and `ca.key`, or makes both if one is missing.
    pub(super) fn open(state: &Path) -> anyhow::Result<Self> {
        let certificate = state::authority(state);
        let key = state.join("ca.key");
        if certificate.exists() && key.exists() {
            let context = || {
                format!(
                    "{} is no key: delete it, and a new authority is made",
                    key.display()
                )
            };
            let pem = std::fs::read_to_string(&key).with_context(context)?;
            let pair = KeyPair::from_pem(&pem).with_context(context)?;
            return Ok(Self {
                issuer: Issuer::new(authority_params(), pair),
                made_now: false,
            });
        }
        let pair = KeyPair::generate()?;
        let params = authority_params();
        let signed = params.self_signed(&pair)?;
        private_file(&key, &pair.serialize_pem())?;
        public_file(&certificate, &signed.pem())?;
        Ok(Self {
            issuer: Issuer::new(params, pair),
            made_now: true,
        })
    }

    pub(super) fn issue(&self) -> anyhow::Result<ServerCertificate> {
        let mut params = CertificateParams::new(SERVER_NAMES.map(String::from))?;
        params.distinguished_name.remove(DnType::CommonName);
        params
            .distinguished_name
            .push(DnType::CommonName, SERVER_NAMES[0]);
        (params.not_before, params.not_after) = valid_for(SERVER_LIFE);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(ServerCertificate {
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = valid_for(AUTHORITY_LIFE);
    params
}

/// From yesterday, for clocks that are behind.
fn valid_for(life: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - Duration::DAY, now + life)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, sync::Arc};

    use rustls::{
        RootCertStore,
        client::{WebPkiServerVerifier, danger::ServerCertVerifier},
        crypto::ring,
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    };

    use super::*;

    fn verify(authority: &Path, server: &ServerCertificate, name: &str) -> bool {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(authority).expect("a certificate");
        roots.add(root).expect("an authority");
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .expect("roots");
        let leaf = CertificateDer::from_pem_slice(server.chain_pem.as_bytes()).expect("leaf");
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        verifier
            .verify_server_cert(&leaf, &[], &name, &[], UnixTime::now())
            .is_ok()
    }

    #[test]
    fn clients_that_trust_the_authority_accept_the_server_under_each_name() {
        let state = tempfile::tempdir().expect("temp dir");
        let authority = Authority::open(state.path()).expect("made");
        let server = authority.issue().expect("issued");
        for name in SERVER_NAMES {
            assert!(
                verify(&state::authority(state.path()), &server, name),
                "{name}"
            );
        }
        assert!(!verify(
            &state::authority(state.path()),
            &server,
            "other.example"
        ));
    }

    #[test]
    fn a_restart_keeps_the_authority() {
        let state = tempfile::tempdir().expect("temp dir");
        assert!(Authority::open(state.path()).expect("made").made_now);
        let before = std::fs::read(state::authority(state.path())).expect("certificate");
        let again = Authority::open(state.path()).expect("read");
        assert!(!again.made_now);
        let after = std::fs::read(state::authority(state.path())).expect("certificate");
        assert_eq!(before, after);
        let server = again.issue().expect("issued");
        assert!(verify(
            &state::authority(state.path()),
            &server,
            "localhost"
        ));
    }

    #[test]
    fn only_the_owner_may_read_the_key() {
        let state = tempfile::tempdir().expect("temp dir");
        Authority::open(state.path()).expect("made");
        let key = std::fs::metadata(state.path().join("ca.key")).expect("key");
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_broken_key_is_reported_with_its_remedy() {
        let state = tempfile::tempdir().expect("temp dir");
        Authority::open(state.path()).expect("made");
        std::fs::write(state.path().join("ca.key"), "nonsense").expect("written");
        let error = Authority::open(state.path()).err().expect("refused");
        assert!(error.to_string().contains("delete it"), "{error}");
    }
}
