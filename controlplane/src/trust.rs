//! Who may hold a session: the certificates between the planes.
//!
//! Owns the control plane's certificate authority ([`Authority`]), which all replicas
//! share; the enrolment of dataplanes, which turns a ServiceAccount's token into a
//! certificate that names Gateway and dataplane; and the TLS of both ports. What a
//! certificate says is an `Identity`; `fleet` holds sessions and reports to it.
//! Never here: who may command. That is `api::access`.

mod authority;
mod enroll;
mod identity;
mod kubernetes;
mod roots;
mod tls;
mod vault;

pub use self::{
    authority::{Authority, TrustError},
    enroll::{Refusal, Reviewer, SharedToken},
    kubernetes::{
        AUDIENCE, ApiTokens, GatewayOf, PodTokens, SECRET, SecretVault, ServiceAccount, Tokens,
    },
    vault::{FileVault, Kept, Vault, VaultError},
};
pub(crate) use self::{
    enroll::TrustService,
    identity::Identity,
    tls::{Peer, Port},
};
