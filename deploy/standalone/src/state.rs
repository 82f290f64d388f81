//! The state folder: where it is and what is in it.
//!
//! `up` fills it; the other commands look there for the admin token and the demo's
//! certificate authority.

use std::path::{Path, PathBuf};

/// Where the state folder is.
#[derive(Clone, Debug, clap::Args)]
pub struct StateArgs {
    /// State folder: admin token, keys, audit history, the demo and its authority
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "TIDEGATE_STATE",
        default_value = ".tidegate"
    )]
    pub state: PathBuf,
}

impl StateArgs {
    /// The token of the admin API, readable by its owner alone.
    #[must_use]
    pub fn admin_token(&self) -> PathBuf {
        admin_token(&self.state)
    }

    /// The certificate of the demo's authority, for clients to trust.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        authority(&self.state)
    }
}

#[must_use]
pub fn admin_token(state: &Path) -> PathBuf {
    state.join("admin.token")
}

#[must_use]
pub fn authority(state: &Path) -> PathBuf {
    state.join("ca.crt")
}
