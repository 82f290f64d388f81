//! The demo's resources as files: the same YAML that Kubernetes would take.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::Context;

use super::{Ports, authority::Authority};

/// The file that the tour edits.
pub const ROUTE_FILE: &str = "site.yaml";
const CERTIFICATE_FILE: &str = "certificate.yaml";
const ENDPOINTS_FILE: &str = "endpoints.yaml";

/// Writes what is missing, and the EndpointSlice always.
pub(super) fn write(
    folder: &Path,
    ports: Ports,
    authority: &Authority,
    upstream: SocketAddr,
) -> anyhow::Result<()> {
    let certificate = folder.join(CERTIFICATE_FILE);
    // A new authority did not sign the certificate that is there.
    if authority.made_now || !certificate.exists() {
        let issued = authority.issue()?;
        let secret = include_str!("files/certificate.yaml")
            .replace("{chain}", &indent(&issued.chain_pem))
            .replace("{key}", &indent(&issued.key_pem));
        private_file(&certificate, &secret)?;
    }
    let gateway = include_str!("files/gateway.yaml")
        .replace("{https}", &ports.https.to_string())
        .replace("{http}", &ports.http.to_string());
    let site = include_str!("files/site.yaml").replace("{https}", &ports.https.to_string());
    for (name, content) in [
        ("gateway.yaml", gateway.as_str()),
        (ROUTE_FILE, site.as_str()),
        ("service.yaml", include_str!("files/service.yaml")),
    ] {
        let file = folder.join(name);
        if !file.exists() {
            public_file(&file, content)?;
        }
    }
    let endpoints = include_str!("files/endpoints.yaml")
        .replace("{address}", &upstream.ip().to_string())
        .replace("{port}", &upstream.port().to_string());
    public_file(&folder.join(ENDPOINTS_FILE), &endpoints)
}

/// Writes a file that everybody may read.
pub(super) fn public_file(file: &Path, content: &str) -> anyhow::Result<()> {
    replace(file, content, 0o644)
}

/// Writes a file that its owner alone may read.
pub(super) fn private_file(file: &Path, content: &str) -> anyhow::Result<()> {
    replace(file, content, 0o600)
}

/// Whole or not at all: who watches the folder never reads half a file.
fn replace(file: &Path, content: &str, mode: u32) -> anyhow::Result<()> {
    let context = || format!("write {}", file.display());
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".new");
    let written = || -> std::io::Result<()> {
        // Left over from a crash, it may have another mode.
        if Path::new(&unfinished).exists() {
            std::fs::remove_file(&unfinished)?;
        }
        let mut to: File = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&unfinished)?;
        to.write_all(content.as_bytes())?;
        std::fs::rename(&unfinished, file)
    };
    written().with_context(context)
}

/// PEM as the content of a YAML block.
fn indent(pem: &str) -> String {
    pem.lines()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests;
