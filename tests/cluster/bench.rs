//! `tests/bench/push-latency`: how long an edit takes from `kubectl apply` to all pods.
//! `tests/bench/controlplane-cost`: what so many objects cost the control plane.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use tidegate_tests::{H3, Target};

use crate::{
    tools::get,
    world::{SHOP, World, apply, eventually, kubectl, route},
};

const EDITS: usize = 100;

/// With `routes` HTTPRoutes there, edits one of them again and again. Prints percentiles of
/// the time from the beginning of `kubectl apply`, and from its end, to the moment when the
/// last pod serves the edit.
pub(crate) async fn push_latency(world: &mut World, routes: usize) {
    let name = |number: usize| format!("many-{number}");
    create(
        (0..routes).map(|number| route(&name(number), &format!("/many/{number}"), &name(number))),
    );
    let mut pods = Vec::new();
    for address in addresses() {
        let target = Target {
            address: SocketAddr::new(address, 443),
            ..world.https()
        };
        pods.push(H3::connect(&target).await);
    }
    let path = format!("/many/{}/x", routes - 1);
    let served = async |version: &str| {
        for pod in &pods {
            eventually("every pod serves it", || async {
                (pod.get(&path).await.header("x-served-by") == version).then_some(())
            })
            .await;
        }
    };
    served(&name(routes - 1)).await;
    let (mut whole, mut after) = (Vec::new(), Vec::new());
    for edit in 0..EDITS {
        let version = format!("edit-{edit}");
        let manifest = route(
            &name(routes - 1),
            &format!("/many/{}", routes - 1),
            &version,
        );
        let began = Instant::now();
        let applied = tokio::task::spawn_blocking(move || {
            apply(&manifest);
            Instant::now()
        });
        let seen = async {
            loop {
                let mut all = true;
                for pod in &pods {
                    all &= pod.get(&path).await.header("x-served-by") == version;
                }
                if all {
                    return Instant::now();
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let (applied, seen) = tokio::join!(applied, seen);
        whole.push(seen - began);
        after.push(seen.saturating_duration_since(applied.expect("kubectl runs")));
    }
    for (what, mut times) in [("from its begin", whole), ("from its end", after)] {
        times.sort_unstable();
        let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
        println!(
            "{routes} routes, {} pods, {EDITS} edits, kubectl apply {what}: p50 {:?}, p99 {:?}, most {:?}",
            pods.len(),
            at(50),
            at(99),
            at(100)
        );
    }
}

/// Of the pods of the team's Gateway.
fn addresses() -> Vec<IpAddr> {
    let pods = get(&[
        "--namespace",
        SHOP,
        "pods",
        "--selector",
        "gateway.networking.k8s.io/gateway-name=edge",
    ]);
    let items = pods["items"].as_array().into_iter().flatten();
    items
        .filter_map(|pod| pod["status"]["podIP"].as_str()?.parse().ok())
        .collect()
}

/// Prints memory and CPU time of each replica of the control plane with so many HTTPRoutes,
/// once the last of them is served.
pub(crate) async fn cost_of_routes(world: &mut World, routes: usize) {
    let before = usage();
    let name = |number: usize| format!("many-{number}");
    create(
        (0..routes).map(|number| route(&name(number), &format!("/many/{number}"), &name(number))),
    );
    let (target, path) = (world.https(), format!("/many/{}/x", routes - 1));
    eventually("the last route is served", || async {
        let answer = crate::client::fetch(&target, &path).await?;
        (answer.header("x-served-by") == name(routes - 1)).then_some(())
    })
    .await;
    print_usage(&format!("{routes} HTTPRoutes"), &before).await;
}

/// The same with so many Services that no route leads to.
pub(crate) async fn cost_of_services(services: usize) {
    let before = usage();
    create((0..services).map(|number| {
        format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: idle-{number}, namespace: {SHOP}}}
spec: {{clusterIP: None, ports: [{{port: 80}}], selector: {{app: idle-{number}}}}}
---
"
        )
    }));
    print_usage(&format!("{services} Services more"), &before).await;
}

/// Several at a time: kubectl alone is slower than what is measured.
fn create(manifests: impl Iterator<Item = String>) {
    let manifests: Vec<_> = manifests.collect();
    std::thread::scope(|scope| {
        for some in manifests.chunks(manifests.len().div_ceil(4)) {
            scope.spawn(move || {
                for some in some.chunks(500) {
                    apply(&some.concat());
                }
            });
        }
    });
}

/// Of each pod of the control plane: bytes in memory and seconds of CPU, as kubelets tell.
fn usage() -> std::collections::BTreeMap<String, (u64, f64)> {
    let nodes = get(&["nodes"]);
    let mut usage = std::collections::BTreeMap::new();
    for node in nodes["items"].as_array().into_iter().flatten() {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        let summary = kubectl(&[
            "get",
            "--raw",
            &format!("/api/v1/nodes/{name}/proxy/stats/summary"),
        ]);
        let summary: serde_json::Value = serde_json::from_str(&summary).expect("it is JSON");
        for pod in summary["pods"].as_array().into_iter().flatten() {
            let name = pod["podRef"]["name"].as_str().unwrap_or_default();
            if name.starts_with("tidegate-controlplane-") {
                let memory = pod["memory"]["workingSetBytes"]
                    .as_u64()
                    .unwrap_or_default();
                let cpu = pod["cpu"]["usageCoreNanoSeconds"]
                    .as_f64()
                    .unwrap_or_default();
                usage.insert(name.to_owned(), (memory, cpu / 1e9));
            }
        }
    }
    usage
}

async fn print_usage(what: &str, before: &std::collections::BTreeMap<String, (u64, f64)>) {
    // Kubelets look every ten seconds.
    tokio::time::sleep(Duration::from_secs(30)).await;
    for (pod, (memory, cpu)) in usage() {
        let (was, spent) = before.get(&pod).copied().unwrap_or_default();
        println!(
            "{what}: {pod} has {:.1} MiB (before: {:.1}), spent {:.1} s of CPU",
            memory as f64 / 1048576.0,
            was as f64 / 1048576.0,
            cpu - spent
        );
    }
}
