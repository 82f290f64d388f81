//! Who may do what, as the cluster's API server says.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use boring::sha::sha256;
use k8s_openapi::api::{
    authentication::v1::UserInfo,
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, api::PostParams};
use tokio::{sync::Semaphore, time::Instant};

use super::{
    Denied,
    permission::{GROUP, Permission},
};
use crate::trust::{ApiTokens, Tokens};

/// For how long a token's holder is remembered, and what it may. Whoever loses a right
/// loses it here so much later.
const REMEMBERED: Duration = Duration::from_secs(15);
/// Answers that are remembered; then the old ones go.
const MOST_REMEMBERED: usize = 1024;
/// Questions to the API server at once.
const AT_ONCE: usize = 16;
/// Longest token that is looked at.
const LONGEST_TOKEN: usize = 16 * 1024;

/// Asks whether someone may do something.
#[tonic::async_trait]
pub(crate) trait Authorizer: Tokens {
    /// `Ok(Some)`: no, for that reason, which may be empty. `Err`: it cannot be said now.
    async fn denies(
        &self,
        user: &UserInfo,
        permission: Permission,
    ) -> Result<Option<String>, String>;
}

#[tonic::async_trait]
impl Authorizer for ApiTokens {
    async fn denies(
        &self,
        user: &UserInfo,
        permission: Permission,
    ) -> Result<Option<String>, String> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username.clone(),
                groups: user.groups.clone(),
                uid: user.uid.clone(),
                extra: user.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(GROUP.to_owned()),
                    resource: Some(permission.resource.to_owned()),
                    verb: Some(permission.verb.to_owned()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            ..Default::default()
        };
        let reviewed = Api::<SubjectAccessReview>::all(self.0.clone())
            .create(&PostParams::default(), &review)
            .await
            .map_err(|error| error.to_string())?;
        let status = reviewed.status.unwrap_or_default();
        let allowed = status.allowed && status.denied != Some(true);
        Ok((!allowed).then(|| status.reason.unwrap_or_default()))
    }
}

/// Asks, and remembers the answers for a moment.
pub(crate) struct Cluster {
    api: Arc<dyn Authorizer>,
    slots: Semaphore,
    /// By hash of the token: who, or why nobody.
    users: Memory<[u8; 32], Result<Arc<UserInfo>, String>>,
    denials: Memory<([u8; 32], Permission), Option<String>>,
}

impl Cluster {
    pub(crate) fn new(api: Arc<dyn Authorizer>) -> Self {
        Self {
            api,
            slots: Semaphore::new(AT_ONCE),
            users: Memory::default(),
            denials: Memory::default(),
        }
    }

    /// The name of who may.
    pub(super) async fn admit(
        &self,
        token: &str,
        permission: Permission,
    ) -> Result<String, Denied> {
        if token.is_empty() || token.len() > LONGEST_TOKEN {
            return Err(Denied::Unauthenticated("there is no token".into()));
        }
        let hash = sha256(token.as_bytes());
        let user = match self.users.get(&hash) {
            Some(known) => known,
            None => {
                let user = self.ask_who(token).await?;
                self.users.put(hash, user.clone());
                user
            }
        };
        let user = user.map_err(Denied::Unauthenticated)?;
        let denial = match self.denials.get(&(hash, permission)) {
            Some(known) => known,
            None => {
                let _slot = self.slots.acquire().await;
                let denial = self.api.denies(&user, permission).await;
                let denial = denial.map_err(Denied::Unavailable)?;
                self.denials.put((hash, permission), denial.clone());
                denial
            }
        };
        let name = user.username.clone().unwrap_or_default();
        match denial {
            None => Ok(name),
            Some(reason) => {
                let mut why = format!(
                    "{name} may not {permission}: a ClusterRole that allows it must be bound to it"
                );
                if !reason.is_empty() {
                    why.push_str(&format!(" ({reason})"));
                }
                Err(Denied::Forbidden(why))
            }
        }
    }

    async fn ask_who(&self, token: &str) -> Result<Result<Arc<UserInfo>, String>, Denied> {
        let _slot = self.slots.acquire().await;
        let status = self.api.review(token, None).await;
        let status = status.map_err(Denied::Unavailable)?;
        Ok(match (status.authenticated, status.user) {
            (Some(true), Some(user)) => Ok(Arc::new(user)),
            _ => Err(status
                .error
                .unwrap_or_else(|| "the API server does not know the token".into())),
        })
    }
}

/// A map that forgets, and stays small.
struct Memory<K, V>(Mutex<HashMap<K, (V, Instant)>>);

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Memory<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, since) = known.get(key)?;
        (since.elapsed() < REMEMBERED).then(|| value.clone())
    }

    fn put(&self, key: K, value: V) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_REMEMBERED {
            known.retain(|_, (_, since)| since.elapsed() < REMEMBERED);
        }
        if known.len() >= MOST_REMEMBERED {
            known.clear();
        }
        known.insert(key, (value, Instant::now()));
    }
}

#[cfg(test)]
mod tests;
