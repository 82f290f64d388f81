//! `tests/bench/push-latency`: how long an edit takes from `kubectl apply` to all pods.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use tidegate_tests::{H3, Target};

use crate::{
    tools::get,
    world::{SHOP, World, apply, eventually, route},
};

const EDITS: usize = 100;

/// With `routes` HTTPRoutes there, edits one of them again and again. Prints percentiles of
/// the time from the beginning of `kubectl apply`, and from its end, to the moment when the
/// last pod serves the edit.
pub(crate) async fn push_latency(world: &mut World, routes: usize) {
    let name = |number: usize| format!("many-{number}");
    let manifests: Vec<String> = (0..routes)
        .map(|number| route(&name(number), &format!("/many/{number}"), &name(number)))
        .collect();
    for some in manifests.chunks(500) {
        apply(&some.concat());
    }
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
