//! The certificate that this data plane shows to the control plane: got for a token, and
//! renewed in time.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use boring::{
    ec::{EcGroup, EcKey},
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    ssl::{SslConnector, SslMethod, SslVersion},
    x509::{X509, X509NameBuilder, X509Req, store::X509StoreBuilder},
};
use rand::seq::SliceRandom as _;
use tidegate_proto::v1::{EnrollRequest, trust_client::TrustClient};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{Backoff, Dialer, Replica, Replicas, dial::DialError};

/// Time for one enrolment: the control plane asks the API server.
const ENROLMENT: Duration = Duration::from_secs(15);
/// Shortest time between two certificates, whatever their life.
const SHORTEST: Duration = Duration::from_secs(1);

/// Why TLS cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    #[error("{setting} {}: {source}", path.display())]
    File {
        setting: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("control-ca {}: no usable certificate: {source}", path.display())]
    Bundle { path: PathBuf, source: ErrorStack },
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] ErrorStack),
    #[error("the data plane is shutting down")]
    Stopping,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("{}: {}", .0.code(), .0.message())]
    Status(#[from] tonic::Status),
    #[error("the control plane does not answer in time")]
    Timeout(#[from] tokio::time::error::Elapsed),
    #[error("the answer has no certificate for the key that was asked for")]
    NoCertificate,
}

/// A certificate with its key.
struct Held {
    chain: Vec<X509>,
    key: PKey<Private>,
    /// What the control plane says is to be trusted besides the file.
    roots: Vec<X509>,
    until: Instant,
}

/// What TLS with the control plane needs.
pub(crate) struct Trust {
    ca: PathBuf,
    token: PathBuf,
    dataplane: String,
    gateway: String,
    held: watch::Sender<Option<Arc<Held>>>,
}

impl Trust {
    pub(crate) fn new(ca: &Path, token: &Path, dataplane: &str, gateway: &str) -> Self {
        Self {
            ca: ca.to_owned(),
            token: token.to_owned(),
            dataplane: dataplane.to_owned(),
            gateway: gateway.to_owned(),
            held: watch::Sender::new(None),
        }
    }

    /// TLS with this data plane's certificate, once there is one that is valid.
    pub(super) async fn certified(&self) -> Result<SslConnector, TrustError> {
        let mut held = self.held.subscribe();
        let valid = |held: &Option<Arc<Held>>| {
            held.as_ref()
                .is_some_and(|held| held.until > Instant::now())
        };
        let held = held.wait_for(valid).await;
        let held = held.map_err(|_| TrustError::Stopping)?.clone();
        self.connector(held.as_deref())
    }

    /// TLS without one.
    pub(super) fn anonymous(&self) -> Result<SslConnector, TrustError> {
        let mut builder = self.builder(self.held.borrow().as_deref())?;
        builder.set_alpn_protos(H2)?;
        Ok(builder.build())
    }

    fn connector(&self, held: Option<&Held>) -> Result<SslConnector, TrustError> {
        let mut builder = self.builder(held)?;
        builder.set_alpn_protos(H2)?;
        if let Some(held) = held
            && let Some((own, others)) = held.chain.split_first()
        {
            builder.set_certificate(own)?;
            for other in others {
                builder.add_extra_chain_cert(other.clone())?;
            }
            builder.set_private_key(&held.key)?;
        }
        Ok(builder.build())
    }

    /// Trusts the file as it is now, and what the control plane said since.
    fn builder(&self, held: Option<&Held>) -> Result<boring::ssl::SslConnectorBuilder, TrustError> {
        let pem = self.read("control-ca", &self.ca)?;
        let roots = X509::stack_from_pem(&pem).map_err(|source| TrustError::Bundle {
            path: self.ca.clone(),
            source,
        })?;
        let mut store = X509StoreBuilder::new()?;
        let known = held.map_or(&[][..], |held| &held.roots);
        for root in roots.iter().chain(known) {
            store.add_cert(root)?;
        }
        let mut builder = SslConnector::builder(SslMethod::tls())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_3))?;
        builder.set_cert_store(store.build());
        Ok(builder)
    }

    fn read(&self, setting: &'static str, path: &Path) -> Result<Vec<u8>, TrustError> {
        fs::read(path).map_err(|source| TrustError::File {
            setting,
            path: path.to_owned(),
            source,
        })
    }

    /// Gets a certificate, and the next one at half of its life, for ever.
    pub(crate) async fn keep(self: Arc<Self>, mut replicas: Replicas) {
        let mut backoff = Backoff::default();
        loop {
            match self.enrol_anywhere(&mut replicas).await {
                Some(life) => {
                    backoff.reset();
                    sleep((life / 2).max(SHORTEST)).await;
                }
                None => {
                    let wait = backoff.next(&mut rand::rng());
                    sleep(wait).await;
                }
            }
        }
    }

    /// Tries one replica after another. Returns how long the certificate lives.
    async fn enrol_anywhere(&self, replicas: &mut Replicas) -> Option<Duration> {
        let mut order: Vec<Replica> = replicas.borrow_and_update().iter().cloned().collect();
        order.retain(|replica| replica.name.is_some());
        order.shuffle(&mut rand::rng());
        for replica in &order {
            match timeout(ENROLMENT, self.enrol(replica)).await {
                Ok(Ok((held, life))) => {
                    tracing::info!(replica = %replica.address, ?life, "enrolled");
                    self.held.send_replace(Some(Arc::new(held)));
                    return Some(life);
                }
                Ok(Err(refused)) => {
                    tracing::warn!(replica = %replica.address, %refused, "not enrolled");
                }
                Err(_) => {
                    tracing::warn!(replica = %replica.address, "the enrolment takes too long");
                }
            }
        }
        None
    }

    async fn enrol(&self, replica: &Replica) -> Result<(Held, Duration), Refused> {
        let token = self.read("token-file", &self.token)?;
        let token = String::from_utf8_lossy(&token).trim().to_owned();
        let (key, request) = request(&self.dataplane).map_err(TrustError::from)?;
        let channel = Dialer::dial_anonymously(self, replica).await?;
        let reply = TrustClient::new(channel)
            .enroll(EnrollRequest {
                request: request.into(),
                token,
                dataplane_id: self.dataplane.clone(),
                gateway: self.gateway.clone(),
            })
            .await?
            .into_inner();
        let read = |certificates: &[bytes::Bytes]| {
            let all = certificates.iter().map(|der| X509::from_der(der));
            all.collect::<Result<Vec<_>, _>>().map_err(TrustError::from)
        };
        let (chain, roots) = (read(&reply.chain)?, read(&reply.roots)?);
        let public = chain.first().and_then(|own| own.public_key().ok());
        if !public.is_some_and(|public| public.public_eq(&key)) {
            return Err(Refused::NoCertificate);
        }
        // Only the difference counts: clocks may differ.
        let life = reply.expires_at_ms.saturating_sub(reply.issued_at_ms);
        let life = Duration::from_millis(life.max(0).unsigned_abs());
        let held = Held {
            chain,
            key,
            roots,
            until: Instant::now() + life,
        };
        Ok((held, life))
    }
}

/// A new key, and the request for its certificate.
fn request(name: &str) -> Result<(PKey<Private>, Vec<u8>), ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut subject = X509NameBuilder::new()?;
    // RFC 5280 A.1: at most 64 characters. The control plane writes its own anyway.
    let name: String = name.chars().take(64).collect();
    subject.append_entry_by_text("CN", &name)?;
    let mut request = X509Req::builder()?;
    request.set_version(0)?;
    request.set_subject_name(&subject.build())?;
    request.set_pubkey(&key)?;
    request.sign(&key, MessageDigest::sha256())?;
    let request = request.build().to_der()?;
    Ok((key, request))
}

const H2: &[u8] = b"\x02h2";
