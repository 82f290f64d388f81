//! Where the roots are kept: a file, or a Secret that all replicas share.

use std::{io, path::PathBuf};

use crate::private_file;

/// What was read, and what a write must name so that it overwrites nothing newer.
#[derive(Clone)]
pub struct Kept {
    /// The roots with their keys.
    pub text: String,
    /// Names this state; empty where nobody else writes.
    pub version: String,
}

/// Why the roots cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The file.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The Secret.
    #[error("cannot use the Secret {name}: {source}")]
    Secret {
        /// `namespace/name`.
        name: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
}

/// A place for the roots.
#[tonic::async_trait]
pub trait Vault: Send + Sync {
    /// What is there. `None`: nothing yet.
    async fn read(&self) -> Result<Option<Kept>, VaultError>;

    /// Writes in the place of what was read; nothing was there: makes it. False: someone
    /// was faster, so read again.
    async fn write(
        &self,
        text: &str,
        bundle: &str,
        before: Option<&Kept>,
    ) -> Result<bool, VaultError>;

    /// For messages.
    fn name(&self) -> String;
}

/// `authority.json` in a folder, and `ca.crt` beside it for whoever is to trust it.
pub struct FileVault {
    folder: PathBuf,
}

impl FileVault {
    /// In the state folder, which exists.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("authority.json")
    }
}

#[tonic::async_trait]
impl Vault for FileVault {
    async fn read(&self) -> Result<Option<Kept>, VaultError> {
        let path = self.path();
        let text = private_file::read(&path).map_err(|source| VaultError::File { path, source })?;
        Ok(text.map(|text| Kept {
            text,
            version: String::new(),
        }))
    }

    async fn write(&self, text: &str, bundle: &str, _: Option<&Kept>) -> Result<bool, VaultError> {
        for (path, content) in [(self.path(), text), (self.folder.join("ca.crt"), bundle)] {
            private_file::write(&path, content)
                .map_err(|source| VaultError::File { path, source })?;
        }
        Ok(true)
    }

    fn name(&self) -> String {
        self.path().display().to_string()
    }
}
