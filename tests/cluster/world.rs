//! What the chapters share: names, the authority that clients trust, and where things are.

use std::{net::IpAddr, time::Duration};

use serde_json::Value;
use tidegate_tests::{Authority, Target, eventually_within};

use crate::{
    client, tools,
    tools::{get, helm, run},
};

/// Where Tidegate is installed.
pub(crate) const SYSTEM: &str = "tidegate-system";
/// Where a team keeps its Gateway, routes and pods.
pub(crate) const SHOP: &str = "shop";
/// The team's host name.
pub(crate) const HOST: &str = "shop.example.com";
/// The Helm release.
pub(crate) const RELEASE: &str = "tidegate";
/// Pods start, images load, leases run out: on a machine with two cores that takes a while.
const PATIENCE: Duration = Duration::from_secs(180);
/// Each probe is a process or a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// What earlier chapters left for later ones.
pub(crate) struct World {
    pub(crate) authority: Authority,
    image: String,
    chart: String,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            authority: Authority::new(),
            image: std::env::var("TIDEGATE_IMAGE").expect("`main` has looked"),
            chart: concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/tidegate").to_owned(),
        }
    }

    /// The image with every binary, `repository:tag`.
    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    /// `helm install` or `upgrade`, which waits until everything is up.
    pub(crate) fn helm(&self, verb: &str, settings: &[&str]) {
        let (repository, tag) = self
            .image
            .rsplit_once(':')
            .expect("TIDEGATE_IMAGE is repository:tag");
        let image = format!(
            "image.registry=,image.repository={repository},image.tag={tag},image.pullPolicy=IfNotPresent"
        );
        let mut arguments = vec![
            verb,
            RELEASE,
            &self.chart,
            "--namespace",
            SYSTEM,
            "--create-namespace",
            "--wait",
            "--timeout",
            "5m",
            "--set",
            &image,
        ];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        helm(&arguments);
    }

    /// The team's host on its Gateway, over TLS.
    pub(crate) fn https(&self) -> Target {
        client::target(address(SHOP, "edge"), 443, HOST, &self.authority)
    }

    /// For whoever reads the log of a failed run.
    pub(crate) fn show_what_is_there(&self) {
        for arguments in [
            &[
                "get",
                "pods,services,gateways,httproutes,policies",
                "--all-namespaces",
                "--output",
                "wide",
            ][..],
            &[
                "get",
                "gateways",
                "--all-namespaces",
                "--output",
                "jsonpath={range .items[*]}{.metadata.name}: {.status}{\"\\n\"}{end}",
            ],
            &[
                "logs",
                "--namespace",
                SYSTEM,
                "--selector",
                "app.kubernetes.io/name=tidegate-controlplane",
                "--tail",
                "40",
                "--prefix",
            ],
            &[
                "logs",
                "--namespace",
                SHOP,
                "--selector",
                "app.kubernetes.io/name=tidegate-dataplane",
                "--tail",
                "20",
                "--prefix",
            ],
        ] {
            let printed = run("kubectl", arguments, "");
            eprintln!(
                "$ kubectl {}\n{}{}",
                arguments.join(" "),
                printed.out,
                printed.err
            );
        }
    }
}

/// Waits until the probe has a value. Panics with `what` when patience ends.
#[track_caller]
pub(crate) fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    probe: impl FnMut() -> F,
) -> impl Future<Output = T> {
    eventually_within(PATIENCE, PAUSE, what, probe)
}

/// The status of a condition, with reason and message: `True Accepted …`. Empty: it is
/// not there, or of an older generation.
pub(crate) fn condition(object: &Value, conditions: &Value, type_: &str) -> String {
    let generation = &object["metadata"]["generation"];
    let found = conditions
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["type"] == type_ && one["observedGeneration"] == *generation);
    found.map_or_else(String::new, |one| {
        let word = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", word("status"), word("reason"), word("message"))
    })
}

/// Waits until a condition of an object begins so, such as `True Programmed`.
pub(crate) async fn object_is(namespace: &str, object: &str, type_: &str, expected: &str) {
    eventually(&format!("{object} has {type_} {expected}"), || async {
        let found = get(&["--namespace", namespace, object]);
        let status = &found["status"];
        let mut places = vec![&status["conditions"]];
        for list in ["parents", "ancestors", "listeners"] {
            let entries = status[list].as_array().into_iter().flatten();
            places.extend(entries.map(|entry| &entry["conditions"]));
        }
        places
            .into_iter()
            .any(|place| condition(&found, place, type_).starts_with(expected))
            .then_some(())
    })
    .await;
}

/// The first address of a Gateway.
#[track_caller]
pub(crate) fn address(namespace: &str, gateway: &str) -> IpAddr {
    let object = get(&["--namespace", namespace, "gateway", gateway]);
    let text = object["status"]["addresses"][0]["value"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    text.parse()
        .unwrap_or_else(|_| panic!("Gateway {gateway} has no address: {}", object["status"]))
}

/// Names of the pods with a label.
pub(crate) fn pods(namespace: &str, selector: &str) -> Vec<String> {
    let list = get(&["--namespace", namespace, "pods", "--selector", selector]);
    let items = list["items"].as_array().into_iter().flatten();
    items
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| {
            pod["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
}

/// A Secret with a certificate for the team's host.
pub(crate) fn certificate(authority: &Authority, name: &str) -> String {
    certificate_for(HOST, authority, name)
}

/// A Secret with a certificate for a host.
pub(crate) fn certificate_for(host: &str, authority: &Authority, name: &str) -> String {
    let identity = authority.issue(&[host]);
    let indented = |pem: &str| {
        pem.lines()
            .map(|line| format!("    {line}\n"))
            .collect::<String>()
    };
    format!(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{name: {name}, namespace: {SHOP}}}\n\
         stringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
        indented(&identity.chain_pem),
        indented(&identity.key_pem)
    )
}

/// A route of the team.
pub(crate) fn route(name: &str, path: &str, filter_value: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {SHOP}}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [{HOST}]
  rules:
  - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]
    filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier: {{set: [{{name: x-served-by, value: {filter_value}}}]}}
    - type: URLRewrite
      urlRewrite: {{path: {{type: ReplaceFullPath, replaceFullPath: /echo}}}}
    backendRefs: [{{name: upstream, port: 80}}]
---
"
    )
}

pub(crate) use tools::{apply, kubectl};
