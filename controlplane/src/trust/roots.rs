//! The roots of trust: made, renewed with overlap, and written down. Pure but for the
//! randomness of a new key; time is an argument.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Life of a root. The next one is made at half of it.
const ROOT_LIFE_MS: i64 = 365 * DAY_MS;
/// A new root is trusted for so long before it signs, so that everyone has heard of it.
const INTRODUCTION_MS: i64 = 2 * DAY_MS;
/// Clocks differ: what is issued is valid from a little before.
pub(super) const SKEW_MS: i64 = 5 * 60 * 1000;

/// Roots, newest first. It has no `Debug`: keys are never logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Roots {
    roots: Vec<Root>,
}

/// One root.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Root {
    /// PEM.
    pub(super) certificate: String,
    /// PEM.
    pub(super) key: String,
    made_at_ms: i64,
    signs_from_ms: i64,
    expires_at_ms: i64,
}

impl Roots {
    /// One root that signs at once: there is nobody yet who would not know it.
    pub(crate) fn generate(now_ms: i64) -> Result<Self, rcgen::Error> {
        Ok(Self {
            roots: vec![Root::generate(now_ms, now_ms)?],
        })
    }

    /// With a new root where the newest is old, and without those that have expired.
    /// `None`: nothing is to be done.
    pub(crate) fn renewed(&self, now_ms: i64) -> Result<Option<Self>, rcgen::Error> {
        let due = |root: &Root| now_ms.saturating_sub(root.made_at_ms) >= ROOT_LIFE_MS / 2;
        let mut roots: Vec<Root> = self.alive(now_ms).cloned().collect();
        if roots.is_empty() {
            return Self::generate(now_ms).map(Some);
        }
        if roots.first().is_some_and(due) {
            roots.insert(0, Root::generate(now_ms, now_ms + INTRODUCTION_MS)?);
        }
        Ok((roots != self.roots).then_some(Self { roots }))
    }

    /// The root that signs: the newest that everyone knows.
    pub(crate) fn signer(&self, now_ms: i64) -> Option<&Root> {
        let known = |root: &&Root| root.signs_from_ms <= now_ms;
        // A clock that was set back must not leave nobody to sign.
        self.roots.iter().find(known).or(self.roots.last())
    }

    /// PEM of everything that is to be trusted.
    pub(crate) fn bundle(&self, now_ms: i64) -> String {
        self.alive(now_ms)
            .map(|root| root.certificate.as_str())
            .collect()
    }

    /// Whether a file by hand would work.
    pub(crate) fn is_usable(&self) -> bool {
        !self.roots.is_empty() && self.roots.iter().all(|root| root.issuer().is_ok())
    }

    fn alive(&self, now_ms: i64) -> impl Iterator<Item = &Root> {
        self.roots
            .iter()
            .filter(move |root| root.expires_at_ms > now_ms)
    }
}

impl Root {
    fn generate(now_ms: i64, signs_from_ms: i64) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let expires_at_ms = now_ms + ROOT_LIFE_MS;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("Tidegate root {now_ms}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = date(now_ms - SKEW_MS);
        params.not_after = date(expires_at_ms);
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            made_at_ms: now_ms,
            signs_from_ms,
            expires_at_ms,
        })
    }

    /// What signs with this root.
    pub(super) fn issuer(&self) -> Result<rcgen::Issuer<'static, KeyPair>, rcgen::Error> {
        let key = KeyPair::from_pem(&self.key)?;
        rcgen::Issuer::from_ca_cert_pem(&self.certificate, key)
    }
}

/// Seconds are what certificates know.
pub(super) fn date(unix_ms: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::seconds(unix_ms / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    #[test]
    fn a_new_root_is_trusted_before_it_signs_and_the_old_one_after() {
        let first = Roots::generate(NOW).unwrap();
        assert!(first.renewed(NOW + DAY_MS).unwrap().is_none());
        let old = first.signer(NOW).unwrap().certificate.clone();

        let half = NOW + ROOT_LIFE_MS / 2;
        let both = first.renewed(half).unwrap().expect("due");
        let new = both.roots[0].certificate.clone();
        assert_ne!(old, new);
        assert_eq!(both.bundle(half), format!("{new}{old}"));
        assert!(both.signer(half).unwrap().certificate == old);
        assert!(both.signer(half + INTRODUCTION_MS).unwrap().certificate == new);
        assert!(both.renewed(half + DAY_MS).unwrap().is_none());

        let end = NOW + ROOT_LIFE_MS;
        let one = both.renewed(end).unwrap().expect("the old one has expired");
        let bundle = one.bundle(end);
        assert!(bundle.contains(&new) && !bundle.contains(&old));
    }

    #[test]
    fn after_a_long_sleep_there_is_a_root_that_is_valid() {
        let roots = Roots::generate(NOW).unwrap();
        let late = NOW + 3 * ROOT_LIFE_MS;
        let renewed = roots.renewed(late).unwrap().expect("all have expired");
        assert!(renewed.signer(late).unwrap().expires_at_ms > late);
        assert!(!renewed.bundle(late).is_empty());
    }

    #[test]
    fn what_is_written_reads_back_and_a_damaged_key_is_noticed() {
        let roots = Roots::generate(NOW).unwrap();
        let mut json = serde_json::to_value(&roots).unwrap();
        let read: Roots = serde_json::from_value(json.clone()).unwrap();
        assert!(read == roots && read.is_usable());
        json["roots"][0]["key"] = "no key".into();
        let damaged: Roots = serde_json::from_value(json).unwrap();
        assert!(!damaged.is_usable());
    }
}
