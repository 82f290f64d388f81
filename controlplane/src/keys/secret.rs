//! The key ring in a Secret of the control plane's namespace, shared by all replicas.
//!
//! Whoever comes first makes it; whoever rotates names the version that it read, so that of
//! two at once one begins anew.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use futures_util::StreamExt;
use k8s_openapi::{
    ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, api::PostParams, runtime::watcher::watch_object};
use rand::rngs::SysRng;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::{KeyError, KeyRing, parse};
use crate::kubernetes::told;

/// Name of the Secret.
pub(crate) const SECRET: &str = "tidegate-keys";
const FIELD: &str = "keys.json";
/// Others may write at the same time, not for ever.
const ATTEMPTS: usize = 5;
const BACKOFF: Duration = Duration::from_secs(2);
/// Longer than pods take to end.
const UNINSTALL: Duration = Duration::from_secs(15);

pub(crate) struct KeySecret {
    api: Api<Secret>,
    namespace: String,
}

impl KeySecret {
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
        }
    }

    pub(super) async fn read_or_make(&self, now_ms: i64) -> Result<KeyRing, KeyError> {
        if let Some(secret) = self.get().await? {
            return self.ring(&secret);
        }
        let ring = KeyRing::generate(&mut SysRng, now_ms)?;
        if self.make(&ring).await? {
            info!(secret = self.name(), "made the first keys");
            return Ok(ring);
        }
        // Another replica was quicker.
        let secret = self
            .get()
            .await?
            .ok_or_else(|| self.failed("it was removed just now"))?;
        self.ring(&secret)
    }

    /// The ring after one rotation more than it has now.
    pub(super) async fn rotate(&self, now_ms: i64) -> Result<KeyRing, KeyError> {
        for _ in 0..ATTEMPTS {
            let Some(mut secret) = self.get().await? else {
                return self.read_or_make(now_ms).await;
            };
            let rotated = self.ring(&secret)?.rotated(&mut SysRng, now_ms)?;
            secret.data = Some(self.data(&rotated)?);
            // It names the version that was read.
            match self
                .api
                .replace(SECRET, &PostParams::default(), &secret)
                .await
            {
                Ok(_) => return Ok(rotated),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(self.failed(&told(&error))),
            }
        }
        Err(self.failed("others write it at the same time; try again"))
    }

    /// Hands on every ring that the Secret has, for ever. One that is removed is made again
    /// with the keys in use, so that nothing that clients hold breaks.
    pub(super) async fn follow(&self, own: impl Fn() -> KeyRing, changed: impl Fn(KeyRing)) {
        let mut events = pin!(watch_object(self.api.clone(), SECRET));
        while let Some(event) = events.next().await {
            match event {
                Ok(Some(secret)) => match self.ring(&secret) {
                    Ok(ring) => changed(ring),
                    Err(error) => error!(%error, "the keys before serve on"),
                },
                Ok(None) => {
                    // An uninstall removes it too, and ends this process a moment later.
                    sleep(UNINSTALL).await;
                    match self.make(&own()).await {
                        Ok(true) => warn!(
                            secret = self.name(),
                            "was removed, and made again with the keys in use"
                        ),
                        Ok(false) => {}
                        Err(error) => error!(%error, "the keys serve on, but are not kept"),
                    }
                }
                Err(error) => {
                    warn!(secret = self.name(), %error, "cannot watch the keys; it is tried again");
                    sleep(BACKOFF).await;
                }
            }
        }
    }

    /// False where there is one already.
    async fn make(&self, ring: &KeyRing) -> Result<bool, KeyError> {
        let labels = [
            ("app.kubernetes.io/managed-by", "tidegate"),
            ("app.kubernetes.io/name", "tidegate-controlplane"),
        ];
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(SECRET.to_owned()),
                labels: Some(
                    labels
                        .map(|(label, value)| (label.to_owned(), value.to_owned()))
                        .into(),
                ),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            data: Some(self.data(ring)?),
            ..Secret::default()
        };
        match self.api.create(&PostParams::default(), &secret).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(self.failed(&told(&error))),
        }
    }

    async fn get(&self) -> Result<Option<Secret>, KeyError> {
        let got = self.api.get_opt(SECRET).await;
        got.map_err(|error| self.failed(&told(&error)))
    }

    fn ring(&self, secret: &Secret) -> Result<KeyRing, KeyError> {
        let damaged = |reason: String| KeyError::Damaged {
            place: format!("Secret {} of the keys", self.name()),
            reason,
        };
        let data = secret.data.as_ref().and_then(|data| data.get(FIELD));
        let text = data.ok_or_else(|| damaged(format!("data.{FIELD} is missing")))?;
        let text = std::str::from_utf8(&text.0)
            .map_err(|_| damaged(format!("data.{FIELD} is no text")))?;
        parse(text).map_err(damaged)
    }

    fn data(&self, ring: &KeyRing) -> Result<BTreeMap<String, ByteString>, KeyError> {
        let text = serde_json::to_vec(ring).map_err(|error| self.failed(&error.to_string()))?;
        Ok(BTreeMap::from([(FIELD.to_owned(), ByteString(text))]))
    }

    fn name(&self) -> String {
        format!("{}/{SECRET}", self.namespace)
    }

    fn failed(&self, reason: &str) -> KeyError {
        KeyError::Secret {
            name: self.name(),
            reason: reason.to_owned(),
        }
    }
}
