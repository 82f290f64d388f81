//! A listener's certificates: found, permitted, and whole.

use boring::{pkey::PKey, x509::X509};
use bytes::Bytes;
use k8s_openapi::api::core::v1::Secret;
use tidegate_proto::v1;

use super::{Fault, grant};
use crate::{
    gateway_api::SecretObjectReference,
    resources::{Entry, ObjectKey, Resources},
};

/// The certificate that an object refers to at `field`, and what is wrong with a newer one,
/// in place of which it serves on.
pub(super) fn resolve(
    resources: &Resources,
    from: &grant::From<'_>,
    reference: &SecretObjectReference,
    field: &str,
) -> Result<(v1::Certificate, Option<Fault>), Fault> {
    let group = reference.group.as_deref().unwrap_or_default();
    let kind = reference.kind.as_deref().unwrap_or("Secret");
    if (group, kind) != ("", "Secret") {
        return Err(invalid(
            field,
            format!("kind {kind} of group `{group}` is not supported; refer to a Secret"),
        ));
    }
    let target = reference.namespace.as_deref().unwrap_or(from.namespace);
    let to = grant::To {
        group,
        kind,
        namespace: target,
        name: &reference.name,
    };
    grant::check(resources, from, &to, field)?;
    let key = ObjectKey::new(target, &reference.name);
    let Some(secret) = resources.secrets.get(&key) else {
        return Err(invalid(
            field,
            format!("there is no Secret {key}; create it with tls.crt and tls.key"),
        ));
    };
    let data = |name: &str| {
        secret
            .object
            .data
            .as_ref()
            .and_then(|data| data.get(name))
            .map(|value| value.0.as_slice())
            .filter(|value| !value.is_empty())
            .ok_or_else(|| {
                invalid(
                    field,
                    format!("Secret {key} has no data under {name}; put PEM there"),
                )
            })
    };
    let (chain, private_key) = (data("tls.crt")?, data("tls.key")?);
    check(chain, private_key)
        .map_err(|problem| invalid(field, format!("Secret {key}: {problem}")))?;
    let warning = held_back(field, &key, secret);
    let certificate = v1::Certificate {
        id: key.to_string(),
        chain_pem: Bytes::copy_from_slice(chain),
        private_key_pem: Bytes::copy_from_slice(private_key),
    };
    Ok((certificate, warning))
}

/// Whether the PEM texts are a chain and the key of its leaf; if not, what to do.
pub(crate) fn check(chain: &[u8], private_key: &[u8]) -> Result<(), &'static str> {
    let chain = X509::stack_from_pem(chain)
        .map_err(|_| "tls.crt is no PEM certificate; put the chain there, leaf first")?;
    let leaf = chain
        .first()
        .ok_or("tls.crt has no certificate; put the chain there, leaf first")?;
    // With a callback, an encrypted key fails at once.
    let private_key = PKey::private_key_from_pem_callback(private_key, |_| Ok(0))
        .map_err(|_| "tls.key is no PEM private key; put the leaf's key there, unencrypted")?;
    let public_key = leaf.public_key().map_err(
        |_| "tls.crt has a leaf with a key of an unknown type; use RSA, ECDSA or Ed25519",
    )?;
    if !public_key.public_eq(&private_key) {
        return Err(
            "tls.key is not the key of the first certificate in tls.crt; put the leaf first, and its key",
        );
    }
    Ok(())
}

/// Whether a text is one PEM certificate or more.
pub(super) fn is_pem_bundle(pem: &[u8]) -> bool {
    X509::stack_from_pem(pem).is_ok_and(|certificates| !certificates.is_empty())
}

/// What is wrong with newer content of a Secret, in place of which it serves on.
pub(super) fn held_back(field: &str, key: &ObjectKey, secret: &Entry<Secret>) -> Option<Fault> {
    let why = secret.held_back.as_ref()?;
    Some(invalid(
        field,
        format!("newer content of Secret {key} is refused: {why} (the one before serves on)"),
    ))
}

pub(super) fn invalid(field: &str, problem: String) -> Fault {
    Fault::new("InvalidCertificateRef", format!("{field}: {problem}"))
}
