//! Both planes; the data plane alone is measured, on one shard.

use std::fs;

use serde_json::{Value, json};

use super::{OWN, Site, Tools};
use crate::process::{LOAD_CORE, Process, SERVER_CORE, pinned};

pub(super) fn start(tools: &Tools, site: &Site) -> anyhow::Result<(Process, Vec<Process>)> {
    let resources = site.folder.join("resources");
    fs::create_dir_all(&resources)?;
    let documents: Vec<String> = documents(site)?
        .iter()
        .map(serde_norway::to_string)
        .collect::<Result<_, _>>()?;
    fs::write(resources.join("site.yaml"), documents.join("---\n"))?;
    let [session, admin, local] = site.spare;
    let mut control = pinned(LOAD_CORE, tools.tidegate.join("tidegate-controlplane"));
    control
        .arg("--source")
        .arg(format!("files:{}", resources.display()))
        .arg("--state")
        .arg(site.folder.join("state"))
        .arg("--session-listen")
        .arg(session.to_string())
        .arg("--admin-listen")
        .arg(admin.to_string());
    let control = Process::start("control plane", &mut control, &site.log("controlplane"))?;
    let mut data = pinned(SERVER_CORE, tools.tidegate.join("tidegate-dataplane"));
    data.args(["--id", "bench", "--shards", "1"])
        .arg("--control")
        .arg(format!("http://{session}"))
        .arg("--admin-listen")
        .arg(local.to_string())
        .env("RUST_LOG", "warn");
    let data = Process::start("data plane", &mut data, &site.log("dataplane"))?;
    Ok((data, vec![control]))
}

fn documents(site: &Site) -> anyhow::Result<Vec<Value>> {
    let named = |name: &str| json!({"name": name, "namespace": "default"});
    let api = "gateway.networking.k8s.io/v1";
    let certificate = fs::read_to_string(site.certificate())?;
    let key = fs::read_to_string(site.key())?;
    Ok(vec![
        json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "QUICPolicy",
            "metadata": named("edge"),
            "spec": {
                "targetRefs": [
                    {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"},
                ],
                "transport": {"idleTimeout": format!("{}s", site.idle_timeout)},
            },
        }),
        json!({
            "apiVersion": api, "kind": "GatewayClass",
            "metadata": {"name": "tidegate"},
            "spec": {"controllerName": "tidegate.dev/gateway-controller"},
        }),
        json!({
            "apiVersion": api, "kind": "Gateway", "metadata": named("edge"),
            "spec": {
                "gatewayClassName": "tidegate",
                "addresses": [{"type": "IPAddress", "value": "127.0.0.1"}],
                "listeners": [{
                    "name": "https", "port": site.listen.port(), "protocol": "HTTPS",
                    "tls": {"mode": "Terminate", "certificateRefs": [{"name": "site"}]},
                }],
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": named("site"),
            "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": certificate, "tls.key": key},
        }),
        json!({
            "apiVersion": api, "kind": "HTTPRoute", "metadata": named("all"),
            "spec": {
                "parentRefs": [{"name": "edge"}],
                "rules": [
                    {"backendRefs": [{"name": "origin", "port": 80}]},
                    {
                        "matches": [{"path": {"type": "Exact", "value": OWN}}],
                        "filters": [{
                            "type": "RequestRedirect",
                            "requestRedirect": {"hostname": "elsewhere.test"},
                        }],
                    },
                ],
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": named("origin"),
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 80, "protocol": "TCP"}]},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "origin-0", "namespace": "default",
                "labels": {"kubernetes.io/service-name": "origin"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": site.origin.port(), "protocol": "TCP"}],
            "endpoints": [{
                "addresses": [site.origin.ip().to_string()],
                "conditions": {"ready": true},
            }],
        }),
    ])
}
