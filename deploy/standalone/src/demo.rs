//! The demo of `tidegate up` without `--config`: an upstream, a certificate authority and
//! the resources of a small gateway, written as files that may be edited.
//!
//! Files that are there are left alone, because they are the user's by then. Only the
//! EndpointSlice is written at each start: the upstream's port is a new one.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use anyhow::Context;

mod authority;
pub mod files;
pub mod serve;
mod upstream;
pub mod welcome;

use authority::Authority;
use upstream::Upstream;

/// Ports of the demo's listeners.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// HTTPS over TCP, and HTTP/3 over UDP.
    pub https: u16,
    pub http: u16,
}

/// A running demo. Its upstream ends with it.
pub struct Demo {
    /// The folder of resource files.
    pub folder: PathBuf,
    upstream: Upstream,
}

impl Demo {
    /// Makes what is missing under `state` and starts the upstream.
    ///
    /// # Errors
    /// A file cannot be read or written, or no port of the loopback interface is free.
    pub async fn start(state: &std::path::Path, ports: Ports) -> anyhow::Result<Self> {
        let folder = state.join("demo");
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let authority = Authority::open(state)?;
        let upstream = Upstream::start((Ipv4Addr::LOCALHOST, 0).into())
            .await
            .context("start the demo's upstream")?;
        files::write(&folder, ports, &authority, upstream.address)?;
        Ok(Self { folder, upstream })
    }

    /// Where the upstream listens.
    #[must_use]
    pub fn upstream(&self) -> SocketAddr {
        self.upstream.address
    }
}
