//! Caddy on one processor.

use super::{Site, Tools};
use crate::process::{Process, SERVER_CORE, pinned};

pub(super) fn start(tools: &Tools, site: &Site) -> anyhow::Result<(Process, Vec<Process>)> {
    let config = format!(
        "{{
    admin off
    auto_https disable_redirects
    default_sni localhost
    skip_install_trust
    log {{
        output discard
    }}
    servers {{
        timeouts {{
            idle {idle}s
        }}
    }}
}}
https://localhost:{port} {{
    bind 127.0.0.1
    tls {certificate} {key}
    reverse_proxy {origin}
}}
",
        port = site.listen.port(),
        idle = site.idle_timeout,
        certificate = site.certificate().display(),
        key = site.key().display(),
        origin = site.origin,
    );
    let config = site.write("Caddyfile", &config)?;
    let mut command = pinned(SERVER_CORE, tools.peers.join("caddy"));
    command
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(config)
        .env("GOMAXPROCS", "1")
        .env("HOME", &site.folder)
        .env("XDG_DATA_HOME", &site.folder)
        .env("XDG_CONFIG_HOME", &site.folder);
    let process = Process::start("Caddy", &mut command, &site.log("caddy"))?;
    Ok((process, Vec::new()))
}
