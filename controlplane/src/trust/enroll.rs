//! The gRPC service `Trust`: a token in, a certificate out.

use std::sync::Arc;

use boring::{memcmp, sha::sha256};
use tidegate_proto::v1::{self, trust_server::Trust};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use super::{authority::Authority, identity::Identity};
use crate::clock::unix_millis;

/// Enrolments under way at once. Anyone may try, and each asks the API server.
const AT_ONCE: usize = 16;
/// Longest token that is looked at.
const LONGEST_TOKEN: usize = 16 * 1024;
/// Longest request for a certificate.
const LONGEST_REQUEST: usize = 16 * 1024;

/// Why a dataplane gets no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The token proves nothing.
    #[error("{0}")]
    Token(String),
    /// It proves something else.
    #[error("{0}")]
    Forbidden(String),
    /// It cannot be said now.
    #[error("{0}")]
    Unavailable(String),
}

/// Says whether a token proves that its holder is this dataplane of this Gateway.
#[tonic::async_trait]
pub trait Reviewer: Send + Sync {
    /// Refuses where it does not. `gateway` is `namespace/name`, or empty for all.
    async fn review(&self, token: &str, gateway: &str, dataplane: &str) -> Result<(), Refusal>;
}

/// Both planes were given the same token; who has it is who it says to be.
pub struct SharedToken([u8; 32]);

impl SharedToken {
    /// The token as it is in the file.
    pub fn new(token: &str) -> Self {
        Self(sha256(token.trim().as_bytes()))
    }
}

#[tonic::async_trait]
impl Reviewer for SharedToken {
    async fn review(&self, token: &str, _: &str, _: &str) -> Result<(), Refusal> {
        if memcmp::eq(&self.0, &sha256(token.trim().as_bytes())) {
            return Ok(());
        }
        Err(Refusal::Token(
            "the token is not the one of --session-token-file".into(),
        ))
    }
}

/// Enrols dataplanes.
pub(crate) struct TrustService {
    authority: Arc<Authority>,
    reviewer: Arc<dyn Reviewer>,
    slots: Semaphore,
}

impl TrustService {
    pub(crate) fn new(authority: Arc<Authority>, reviewer: Arc<dyn Reviewer>) -> Self {
        Self {
            authority,
            reviewer,
            slots: Semaphore::new(AT_ONCE),
        }
    }
}

#[tonic::async_trait]
impl Trust for TrustService {
    async fn enroll(
        &self,
        request: Request<v1::EnrollRequest>,
    ) -> Result<Response<v1::EnrollReply>, Status> {
        let asked = request.into_inner();
        if asked.token.len() > LONGEST_TOKEN || asked.request.len() > LONGEST_REQUEST {
            return Err(Status::invalid_argument(
                "the token or the request is too long",
            ));
        }
        let identity =
            Identity::new(&asked.gateway, &asked.dataplane_id).map_err(Status::invalid_argument)?;
        let Ok(_slot) = self.slots.try_acquire() else {
            return Err(Status::resource_exhausted(
                "too many dataplanes enrol at once: try again",
            ));
        };
        self.reviewer
            .review(&asked.token, &identity.gateway, &identity.dataplane)
            .await
            .map_err(|refusal| {
                warn!(dataplane = identity.dataplane, gateway = identity.gateway, %refusal,
                    "enrolment refused");
                match refusal {
                    Refusal::Token(why) => Status::unauthenticated(why),
                    Refusal::Forbidden(why) => Status::permission_denied(why),
                    Refusal::Unavailable(why) => Status::unavailable(why),
                }
            })?;
        let issued = self
            .authority
            .issue_client(&asked.request, &identity, unix_millis())
            .map_err(|error| Status::invalid_argument(format!("request: {error}")))?;
        info!(
            dataplane = identity.dataplane,
            gateway = identity.gateway,
            "dataplane enrolled"
        );
        let der = |certificate: &[u8]| bytes::Bytes::copy_from_slice(certificate);
        Ok(Response::new(v1::EnrollReply {
            chain: vec![der(&issued.certificate)],
            roots: self
                .authority
                .trusted()
                .iter()
                .map(|root| der(root))
                .collect(),
            issued_at_ms: issued.issued_at_ms,
            expires_at_ms: issued.expires_at_ms,
        }))
    }
}
