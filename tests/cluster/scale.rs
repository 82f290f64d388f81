//! More and fewer data planes.

use crate::{
    load::Load,
    world::{SHOP, World, apply, eventually, kubectl, pods},
};

const DATAPLANES: &str = "gateway.networking.k8s.io/gateway-name=edge";

fn replicas(count: usize) -> String {
    format!(
        "
apiVersion: tidegate.dev/v1alpha1
kind: GatewayParameters
metadata: {{name: edge, namespace: {SHOP}}}
spec: {{replicas: {count}}}
"
    )
}

pub(crate) async fn scaling_the_data_plane_fails_no_request(world: &mut World) {
    apply(&replicas(1));
    kubectl(&[
        "patch",
        "--namespace",
        SHOP,
        "gateway",
        "edge",
        "--type",
        "merge",
        "--patch",
        r#"{"spec":{"infrastructure":{"parametersRef":{"group":"tidegate.dev","kind":"GatewayParameters","name":"edge"}}}}"#,
    ]);
    let load = Load::start(world.https(), "/");
    for count in [3, 1] {
        apply(&replicas(count));
        eventually("there are as many pods, and ready", || async {
            let deployment =
                crate::tools::get(&["--namespace", SHOP, "deployments", "--selector", DATAPLANES]);
            let status = &deployment["items"][0]["status"];
            let ready = status["readyReplicas"] == count && status["replicas"] == count;
            (ready && pods(SHOP, DATAPLANES).len() == count).then_some(())
        })
        .await;
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    }
    load.finish().await;
}
