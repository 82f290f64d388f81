//! A new version of the chart.

use crate::{
    load::Load,
    world::{SHOP, SYSTEM, World, kubectl},
};

pub(crate) async fn an_upgrade_fails_no_request(world: &mut World) {
    let load = Load::start(world.https(), "/");
    // Another pod template: every replica of the control plane is replaced.
    world.helm(
        "upgrade",
        &[
            "gateway.enabled=true",
            "controlplane.podAnnotations.revision=next",
        ],
    );
    kubectl(&[
        "rollout",
        "status",
        "--namespace",
        SYSTEM,
        "deployment",
        "--selector",
        "app.kubernetes.io/name=tidegate-controlplane",
        "--timeout=5m",
    ]);
    // And every pod of the data plane, as a new image would.
    kubectl(&[
        "rollout",
        "restart",
        "--namespace",
        SHOP,
        "deployment",
        "--selector",
        "gateway.networking.k8s.io/gateway-name=edge",
    ]);
    kubectl(&[
        "rollout",
        "status",
        "--namespace",
        SHOP,
        "deployment",
        "--selector",
        "gateway.networking.k8s.io/gateway-name=edge",
        "--timeout=5m",
    ]);
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    load.finish().await;
}
