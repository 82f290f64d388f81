//! The secrets that all dataplanes share: session tickets, Retry tokens, stateless
//! reset tokens and connection IDs.
//!
//! Owns where they are kept, the file `keys.json` in the state folder or a Secret that all
//! replicas share, and when they change: by age, or when an operator asks. `fleet::publish` puts them into snapshots. They are never logged,
//! and no API shows them.

mod derive;
mod ring;
mod secret;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::rngs::{SysError, SysRng};
use tidegate_proto::v1;
use tokio::sync::watch;
use tracing::{error, info};

pub(crate) use self::secret::{KeySecret, SECRET};
pub use self::{derive::of_gateway, ring::KeyRing};
use crate::{clock::unix_millis, private_file};

/// Longest wait between two looks at the age of the keys: a clock may be set.
const LONGEST_NAP: Duration = Duration::from_secs(60);

/// Why the keys cannot be read, made or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot use the key file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file has something else in it.
    #[error(
        "the {place} is damaged ({reason}): put a copy back, or remove it to begin with new \
         keys, which ends what clients hold of the old ones"
    )]
    Damaged {
        /// File or Secret.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The API server did not give or take the Secret.
    #[error("cannot use Secret {name} of the keys: {reason}")]
    Secret {
        /// `namespace/name`.
        name: String,
        /// What the API server said.
        reason: String,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(#[from] SysError),
}

/// The key ring where it is kept, and everyone who waits for it to change.
pub struct KeyStore {
    place: Place,
    ring: Mutex<KeyRing>,
    current: watch::Sender<v1::Keys>,
}

enum Place {
    File(PathBuf),
    Secret(Box<KeySecret>),
}

impl KeyStore {
    /// Reads `keys.json` in `folder`, or makes it with new keys.
    pub fn open(folder: &Path, now_ms: i64) -> Result<Self, KeyError> {
        let path = folder.join("keys.json");
        let text = private_file::read(&path).map_err(|source| KeyError::File {
            path: path.clone(),
            source,
        })?;
        let ring = if let Some(text) = text {
            parse(&text).map_err(|reason| KeyError::Damaged {
                place: format!("key file {}", path.display()),
                reason,
            })?
        } else {
            let ring = KeyRing::generate(&mut SysRng, now_ms)?;
            save(&path, &ring)?;
            info!(path = %path.display(), "made the first keys");
            ring
        };
        Ok(Self::new(Place::File(path), ring))
    }

    /// Reads the Secret that all replicas share, or makes it with new keys.
    pub(crate) async fn shared(secret: KeySecret, now_ms: i64) -> Result<Self, KeyError> {
        let ring = secret.read_or_make(now_ms).await?;
        Ok(Self::new(Place::Secret(Box::new(secret)), ring))
    }

    fn new(place: Place, ring: KeyRing) -> Self {
        let current = watch::Sender::new(ring.to_wire());
        let ring = Mutex::new(ring);
        Self {
            place,
            ring,
            current,
        }
    }

    /// The keys, and a wake-up whenever they change.
    pub fn watch(&self) -> watch::Receiver<v1::Keys> {
        self.current.subscribe()
    }

    /// UNIX milliseconds of the last rotation.
    pub fn rotated_at_ms(&self) -> i64 {
        self.locked().rotated_at_ms()
    }

    /// Puts the next key of each kind into use, and makes another to be the next. Those before
    /// stay valid for a while, so that nothing that clients hold breaks. On an error nothing has
    /// changed.
    pub async fn rotate(&self, now_ms: i64) -> Result<v1::Keys, KeyError> {
        let keys = match &self.place {
            Place::File(path) => {
                // Under the lock, so that two rotations are seen in their order. It is a
                // small file.
                let mut ring = self.locked();
                let rotated = ring.rotated(&mut SysRng, now_ms)?;
                save(path, &rotated)?;
                *ring = rotated;
                let keys = ring.to_wire();
                self.current.send_replace(keys.clone());
                keys
            }
            Place::Secret(secret) => self.adopt(secret.rotate(now_ms).await?),
        };
        info!("rotated the keys");
        Ok(keys)
    }

    /// Takes what other replicas make of the keys, for ever. Where no one else has them,
    /// there is nothing to do.
    pub(crate) async fn follow(&self) {
        match &self.place {
            Place::File(_) => std::future::pending().await,
            Place::Secret(secret) => {
                let own = || self.locked().clone();
                secret.follow(own, |ring| drop(self.adopt(ring))).await;
            }
        }
    }

    /// Rotates whenever the keys are older than `age` and `leads` says so, for ever.
    pub async fn rotate_by_age(&self, age: Duration, leads: impl Fn() -> bool, rotated: impl Fn()) {
        let nap = LONGEST_NAP.min(age / 4).max(Duration::from_millis(10));
        loop {
            if leads() && is_due(self.rotated_at_ms(), unix_millis(), age) {
                match self.rotate(unix_millis()).await {
                    Ok(_) => rotated(),
                    Err(error) => error!(%error, "cannot rotate the keys; the old ones serve on"),
                }
            }
            tokio::time::sleep(nap).await;
        }
    }

    fn adopt(&self, ring: KeyRing) -> v1::Keys {
        let mut current = self.locked();
        let keys = ring.to_wire();
        *current = ring;
        self.current.send_if_modified(|current| {
            let changed = *current != keys;
            if changed {
                current.clone_from(&keys);
            }
            changed
        });
        keys
    }

    fn locked(&self) -> MutexGuard<'_, KeyRing> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A clock that was set back does not make keys young for ever.
fn is_due(rotated_at_ms: i64, now_ms: i64, age: Duration) -> bool {
    now_ms.saturating_sub(rotated_at_ms).unsigned_abs() >= age.as_millis() as u64
}

fn parse(text: &str) -> Result<KeyRing, String> {
    // serde_json's own message may quote a value: only the place is told.
    let ring: KeyRing = serde_json::from_str(text)
        .map_err(|error| format!("line {}, column {}", error.line(), error.column()))?;
    if ring.is_complete() {
        Ok(ring)
    } else {
        Err("a key is missing or has a wrong length".into())
    }
}

fn save(path: &Path, ring: &KeyRing) -> Result<(), KeyError> {
    serde_json::to_string_pretty(ring)
        .map_err(io::Error::other)
        .and_then(|text| private_file::write(path, &text))
        .map_err(|source| KeyError::File {
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests;
