//! More and fewer data planes.

use tidegate_tests::H3;

use crate::{
    load::Load,
    tools::get,
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
        scale(count).await;
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    }
    load.finish().await;
}

/// Whichever pod its next packet lands on: behind a Service a new address is a new flow,
/// for which a pod is chosen by chance.
pub(crate) async fn a_client_that_changes_its_address_keeps_its_connection(world: &mut World) {
    scale(3).await;
    let connection = H3::connect(&world.https()).await;
    assert_eq!(connection.get("/").await.status, 200);
    for change in 0..12 {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("any port will do");
        connection.endpoint.rebind(socket).expect("it is bound");
        let answer = connection.get("/").await;
        assert_eq!(answer.status, 200, "after change {change}");
    }
    assert_eq!(connection.connection.close_reason(), None);
    scale(1).await;
}

/// Waits until there are so many pods, and ready.
async fn scale(count: usize) {
    apply(&replicas(count));
    eventually("there are as many pods, and ready", || async {
        let deployment = get(&["--namespace", SHOP, "deployments", "--selector", DATAPLANES]);
        let status = &deployment["items"][0]["status"];
        let ready = status["readyReplicas"] == count && status["replicas"] == count;
        (ready && pods(SHOP, DATAPLANES).len() == count).then_some(())
    })
    .await;
}
