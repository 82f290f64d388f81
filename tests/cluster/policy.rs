//! QUICPolicy.

use tidegate_tests::{H3, Wire};

use crate::{
    client,
    world::{SHOP, World, apply, eventually, kubectl, object_is},
};

fn policy(http3: &str) -> String {
    format!(
        "
apiVersion: tidegate.dev/v1alpha1
kind: QUICPolicy
metadata: {{name: edge, namespace: {SHOP}}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: edge}}]
  http3: {http3}
"
    )
}

pub(crate) async fn a_policy_turns_http3_off_and_on_again(world: &mut World) {
    let target = world.https();
    let advertised = || async {
        let answer = client::fetch_tcp(&target, Wire::H2, "/").await?;
        Some(answer.header("alt-svc").to_owned())
    };
    apply(&policy("{enabled: false}"));
    object_is(SHOP, "quicpolicy/edge", "Accepted", "True").await;
    eventually("HTTP/3 is not advertised any more", || async {
        advertised().await?.is_empty().then_some(())
    })
    .await;

    apply(&policy(
        "{enabled: true, advertisedPort: 8443, altSvcMaxAge: 10m}",
    ));
    eventually("HTTP/3 is advertised as the policy says", || async {
        (advertised().await? == "h3=\":8443\"; ma=600").then_some(())
    })
    .await;
    kubectl(&["delete", "--namespace", SHOP, "quicpolicy", "edge"]);
    eventually("HTTP/3 is served as before", || async {
        let connection = H3::try_connect(&target).await.ok()?;
        let answer = connection
            .send(connection.request("GET", "/"), bytes::Bytes::new())
            .await
            .ok()?;
        (answer.status == 200 && advertised().await?.contains(":443")).then_some(())
    })
    .await;
}
