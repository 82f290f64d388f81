//! Traefik on one processor.

use super::{Site, Tools};
use crate::process::{Process, SERVER_CORE, pinned};

pub(super) fn start(tools: &Tools, site: &Site) -> anyhow::Result<(Process, Vec<Process>)> {
    let dynamic = site.write(
        "traefik-dynamic.yaml",
        &format!(
            "http:
  routers:
    all: {{rule: \"PathPrefix(`/`)\", service: origin, entryPoints: [edge], tls: {{}}}}
  services:
    origin: {{loadBalancer: {{servers: [{{url: \"http://{origin}\"}}]}}}}
tls:
  stores:
    default: {{defaultCertificate: {{certFile: \"{certificate}\", keyFile: \"{key}\"}}}}
",
            origin = site.origin,
            certificate = site.certificate().display(),
            key = site.key().display(),
        ),
    )?;
    let fixed = site.write(
        "traefik.yaml",
        &format!(
            "global: {{checkNewVersion: false, sendAnonymousUsage: false}}
log: {{level: ERROR}}
entryPoints:
  edge:
    address: \"{listen}\"
    http3: {{}}
    transport: {{respondingTimeouts: {{idleTimeout: {idle}s}}}}
providers:
  file: {{filename: \"{dynamic}\", watch: false}}
",
            listen = site.listen,
            idle = site.idle_timeout,
            dynamic = dynamic.display(),
        ),
    )?;
    let mut command = pinned(SERVER_CORE, tools.peers.join("traefik"));
    command
        .arg(format!("--configFile={}", fixed.display()))
        .env("GOMAXPROCS", "1");
    let process = Process::start("Traefik", &mut command, &site.log("traefik"))?;
    Ok((process, Vec::new()))
}
