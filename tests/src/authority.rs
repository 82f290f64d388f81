//! A certificate authority of a test, and what clients need to trust it.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// Signs certificates for the gateway's host names and for TLS upstreams.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

/// A leaf certificate with its key.
#[derive(Clone)]
pub struct Identity {
    pub chain_pem: String,
    pub key_pem: String,
    /// DER of the leaf.
    pub der: Vec<u8>,
}

impl Authority {
    pub fn new() -> Self {
        Self::named("Authority of a test")
    }

    /// Where there are several, each needs a name of its own.
    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("the ring provider makes P-256 keys");
        let certificate = params.self_signed(&key).expect("parameters are complete");
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self {
            issuer: Issuer::new(params, key),
            pem,
            der,
        }
    }

    pub fn issue(&self, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("names of tests are DNS names");
        let key = KeyPair::generate().expect("the ring provider makes P-256 keys");
        let leaf = params
            .signed_by(&key, &self.issuer)
            .expect("parameters are complete");
        Identity {
            chain_pem: format!("{}{}", leaf.pem(), self.pem),
            key_pem: key.serialize_pem(),
            der: leaf.der().to_vec(),
        }
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// This authority alone.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.der.clone())
            .expect("our own certificate is a trust anchor");
        roots
    }

    /// Trusts this authority alone, and keeps session tickets for whoever shares it.
    pub fn client(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        install_provider();
        let mut config = ClientConfig::builder()
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// The same, showing this certificate to who asks for one.
    pub fn client_as(&self, alpn: &[&str], identity: &Identity) -> Arc<ClientConfig> {
        install_provider();
        let mut config = ClientConfig::builder()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(identity.chain(), identity.key())
            .expect("the key belongs to the certificate");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Identity {
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.chain_pem.as_bytes())
            .collect::<Result<_, _>>()
            .expect("rcgen writes PEM")
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("rcgen writes PEM")
    }

    /// A server that offers HTTP/2 and HTTP/1.1.
    pub(crate) fn server(&self, alpn: &[&str]) -> Arc<rustls::ServerConfig> {
        install_provider();
        let mut config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(self.chain(), self.key())
            .expect("the key belongs to the certificate");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// rustls wants one provider for the process; whoever comes first installs it.
pub(crate) fn install_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
