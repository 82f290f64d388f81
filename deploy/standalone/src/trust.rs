//! Which servers the clients of this binary believe: the system's authorities and the
//! demo's, or exactly those of a file that was named.

use std::{path::Path, sync::Arc};

use anyhow::{Context, ensure};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

/// TLS settings that trust `only`, or without it the system's authorities and, where the
/// file exists, `demo`.
///
/// # Errors
/// `only` cannot be read or holds no certificate.
pub fn client_config(
    only: Option<&Path>,
    demo: &Path,
    alpn: &[&[u8]],
) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = only {
        let added = add_file(&mut roots, file)?;
        ensure!(added > 0, "{} holds no certificate", file.display());
    } else {
        // A system without authorities is no reason to fail: the demo brings its own.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if demo.exists() {
            add_file(&mut roots, demo)?;
        }
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("TLS versions")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

fn add_file(roots: &mut RootCertStore, file: &Path) -> anyhow::Result<usize> {
    let context = || format!("certificates of {}", file.display());
    let mut added = 0;
    for certificate in CertificateDer::pem_file_iter(file).with_context(context)? {
        roots
            .add(certificate.with_context(context)?)
            .with_context(context)?;
        added += 1;
    }
    Ok(added)
}
