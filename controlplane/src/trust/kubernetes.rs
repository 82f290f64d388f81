//! What the API server says of tokens, and the Secret with the roots.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    ByteString,
    api::{
        authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus},
        core::v1::Secret,
    },
};
use kube::{Api, Client, api::PostParams};

use super::{
    enroll::{Refusal, Reviewer},
    vault::{Kept, Vault, VaultError},
};

/// Audience of the tokens with which dataplanes enrol.
pub const AUDIENCE: &str = "tidegate-controlplane";
/// Name of the Secret with the roots.
pub const SECRET: &str = "tidegate-ca";
/// Keys in it: the roots with their private keys, and what others trust.
const ROOTS: &str = "authority.json";
const BUNDLE: &str = "ca.crt";
/// What the API server says of a pod's token.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";

/// The Gateway, `namespace/name`, whose dataplanes run with a ServiceAccount.
pub type GatewayOf = Arc<dyn Fn(&ServiceAccount) -> Option<String> + Send + Sync>;

/// Name of a ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name in it.
    pub name: String,
}

/// Asks the API server whose token it is.
#[tonic::async_trait]
pub trait Tokens: Send + Sync {
    /// What a TokenReview for the audience says.
    async fn review(
        &self,
        token: &str,
        audience: Option<&str>,
    ) -> Result<TokenReviewStatus, String>;
}

/// Asks the API server of a client.
#[derive(Clone)]
pub struct ApiTokens(pub Client);

#[tonic::async_trait]
impl Tokens for ApiTokens {
    async fn review(
        &self,
        token: &str,
        audience: Option<&str>,
    ) -> Result<TokenReviewStatus, String> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: audience.map(|audience| vec![audience.to_owned()]),
            },
            ..Default::default()
        };
        let reviewed = Api::<TokenReview>::all(self.0.clone())
            .create(&PostParams::default(), &review)
            .await
            .map_err(|error| error.to_string())?;
        reviewed
            .status
            .ok_or_else(|| "a TokenReview came back without a status".into())
    }
}

/// Admits pods by the token of their ServiceAccount.
pub struct PodTokens {
    tokens: Arc<dyn Tokens>,
    gateway_of: GatewayOf,
}

impl PodTokens {
    /// `gateway_of` says for which Gateway a ServiceAccount was made.
    pub fn new(tokens: Arc<dyn Tokens>, gateway_of: GatewayOf) -> Self {
        Self { tokens, gateway_of }
    }
}

#[tonic::async_trait]
impl Reviewer for PodTokens {
    async fn review(&self, token: &str, gateway: &str, dataplane: &str) -> Result<(), Refusal> {
        let status = self
            .tokens
            .review(token, Some(AUDIENCE))
            .await
            .map_err(|why| Refusal::Unavailable(format!("the token cannot be reviewed: {why}")))?;
        let (account, pod) = pod_of(&status).map_err(Refusal::Token)?;
        let shown = format!("{}/{}", account.namespace, account.name);
        if pod != dataplane {
            return Err(Refusal::Forbidden(format!(
                "the token is that of pod `{pod}`, not of `{dataplane}`: start the dataplane with \
                 its pod's name as --id"
            )));
        }
        match (self.gateway_of)(&account) {
            Some(own) if own == gateway => Ok(()),
            Some(own) => Err(Refusal::Forbidden(format!(
                "ServiceAccount `{shown}` serves Gateway `{own}`, not `{gateway}`"
            ))),
            // The Gateway may be newer than what this replica has read.
            None => Err(Refusal::Unavailable(format!(
                "no Gateway is known that ServiceAccount `{shown}` serves"
            ))),
        }
    }
}

/// ServiceAccount and pod of a token for the right audience.
fn pod_of(status: &TokenReviewStatus) -> Result<(ServiceAccount, String), String> {
    if status.authenticated != Some(true) {
        let why = status.error.as_deref().unwrap_or("not authenticated");
        return Err(format!("the token is not valid here: {why}"));
    }
    // An API server that does not know audiences would answer without.
    let meant = |audiences: &Vec<String>| audiences.iter().any(|audience| audience == AUDIENCE);
    if !status.audiences.as_ref().is_some_and(meant) {
        return Err(format!("the token is not for the audience `{AUDIENCE}`"));
    }
    let user = status.user.clone().unwrap_or_default();
    let name = user.username.unwrap_or_default();
    let account = name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'))
        .map(|(namespace, name)| ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
        .ok_or_else(|| format!("`{name}` is no ServiceAccount"))?;
    let pod = user
        .extra
        .and_then(|extra| extra.get(POD_NAME)?.first().cloned())
        .ok_or("the token is not bound to a pod: mount it as a projected volume")?;
    Ok((account, pod))
}

/// The Secret in the control plane's namespace.
pub struct SecretVault {
    secrets: Api<Secret>,
    name: String,
}

impl SecretVault {
    /// In `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            secrets: Api::namespaced(client, namespace),
            name: format!("{namespace}/{SECRET}"),
        }
    }

    fn failed(&self, source: kube::Error) -> VaultError {
        VaultError::Secret {
            name: self.name.clone(),
            source: Box::new(source),
        }
    }
}

#[tonic::async_trait]
impl Vault for SecretVault {
    async fn read(&self) -> Result<Option<Kept>, VaultError> {
        let found = self.secrets.get_opt(SECRET).await;
        let Some(secret) = found.map_err(|error| self.failed(error))? else {
            return Ok(None);
        };
        let text = secret.data.and_then(|mut data| data.remove(ROOTS));
        Ok(Some(Kept {
            // Without the key it is damaged, and said to be.
            text: String::from_utf8(text.unwrap_or_default().0).unwrap_or_default(),
            version: secret.metadata.resource_version.unwrap_or_default(),
        }))
    }

    async fn write(
        &self,
        text: &str,
        bundle: &str,
        before: Option<&Kept>,
    ) -> Result<bool, VaultError> {
        let mut secret = Secret {
            data: Some(BTreeMap::from([
                (ROOTS.to_owned(), ByteString(text.as_bytes().to_vec())),
                (BUNDLE.to_owned(), ByteString(bundle.as_bytes().to_vec())),
            ])),
            type_: Some("Opaque".to_owned()),
            ..Default::default()
        };
        secret.metadata.name = Some(SECRET.to_owned());
        secret.metadata.labels = Some(BTreeMap::from([(
            "app.kubernetes.io/managed-by".to_owned(),
            "tidegate".to_owned(),
        )]));
        let params = PostParams::default();
        let written = match before {
            None => self.secrets.create(&params, &secret).await,
            Some(before) => {
                secret.metadata.resource_version = Some(before.version.clone());
                self.secrets.replace(SECRET, &params, &secret).await
            }
        };
        match written {
            Ok(_) => Ok(true),
            // Conflict, be it of a create or of a version.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn name(&self) -> String {
        format!("the Secret {}", self.name)
    }
}

#[cfg(test)]
mod tests;
