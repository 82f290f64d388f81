//! Certificates, parsed once and matched with their keys.

use std::{collections::HashMap, fmt, sync::Arc};

use boring::{
    pkey::{PKey, Private},
    sha::Sha256,
    x509::X509,
};
use tidegate_proto::v1;

use super::problems::{Object, Problems};

/// A chain whose leaf fits the key.
pub struct Certificate {
    /// `namespace/secret`.
    pub id: String,
    /// Leaf first; at least one.
    pub chain: Vec<X509>,
    pub key: PKey<Private>,
    /// Of chain and key: the same in the next snapshot if the content is.
    pub fingerprint: [u8; 32],
}

/// Every id that there is; `None` where it was refused, which is reported once only.
pub(super) type Certificates = HashMap<String, Option<Arc<Certificate>>>;

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

pub(super) fn parse_all(wire: Vec<v1::Certificate>, problems: &mut Problems) -> Certificates {
    let mut parsed = Certificates::new();
    for certificate in wire {
        let mut object = problems.of(&certificate.id);
        if certificate.id.is_empty() {
            object.refuse("id", "a certificate has no id; name it namespace/secret");
        }
        if parsed.contains_key(&certificate.id) {
            object.refuse("id", "two certificates have this id; remove one");
        }
        let value = parse(&certificate, &mut object).map(Arc::new);
        parsed.insert(certificate.id, value);
    }
    parsed
}

fn parse(wire: &v1::Certificate, object: &mut Object<'_>) -> Option<Certificate> {
    let chain = X509::stack_from_pem(&wire.chain_pem).unwrap_or_default();
    if chain.is_empty() {
        object.refuse(
            "chain_pem",
            "has no readable certificate; give the chain as PEM, leaf first",
        );
    }
    let key = PKey::private_key_from_pem(&wire.private_key_pem);
    // The library's error is left out: it could quote what it read.
    let key = object.accept(
        "private_key_pem",
        key.map_err(|_| "is no readable private key; give it as PEM, not encrypted"),
    );
    let (leaf, key) = (chain.first()?, key?);
    let fits = leaf.public_key().is_ok_and(|public| public.public_eq(&key));
    if !fits {
        let message = "does not match the first certificate of the chain; \
                       give the key that it was issued for, and put the leaf first";
        object.refuse("private_key_pem", message);
        return None;
    }
    Some(Certificate {
        id: wire.id.clone(),
        chain,
        key,
        fingerprint: fingerprint(wire),
    })
}

fn fingerprint(wire: &v1::Certificate) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [&wire.chain_pem, &wire.private_key_pem] {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finish()
}
