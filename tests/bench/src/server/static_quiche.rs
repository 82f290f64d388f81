//! tokio-quiche, which answers by itself.

use super::{Site, Tools};
use crate::process::{Process, SERVER_CORE, pinned};

/// As in this package's manifest.
pub(super) const VERSION: &str = "0.20.1";

pub(super) fn start(tools: &Tools, site: &Site) -> anyhow::Result<(Process, Vec<Process>)> {
    let mut command = pinned(SERVER_CORE, tools.own.join("static_quiche"));
    command
        .arg(site.listen.to_string())
        .arg(site.certificate())
        .arg(site.key())
        .arg(site.idle_timeout.to_string());
    let process = Process::start("tokio-quiche", &mut command, &site.log("static_quiche"))?;
    Ok((process, Vec::new()))
}
