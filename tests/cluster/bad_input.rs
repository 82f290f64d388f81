//! Mistakes, each with its condition, while everything else serves on.

use crate::{
    client,
    tools::try_apply,
    world::{SHOP, World, apply, certificate, eventually, kubectl, object_is, route},
};

fn gateway(name: &str, listeners: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {SHOP}}}
spec:
  gatewayClassName: tidegate
  listeners: {listeners}
---
"
    )
}

pub(crate) async fn each_mistake_gets_its_condition_and_everything_else_serves_on(
    world: &mut World,
) {
    let load = crate::load::Load::start(world.https(), "/");

    apply(&format!(
        "
apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata: {{name: broken, namespace: {SHOP}}}
stringData: {{tls.crt: this is no certificate, tls.key: nor is this a key}}
---
{}{}{}{}",
        gateway(
            "broken",
            "[{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: broken}]}}]"
        ),
        gateway("strange", "[{name: tcp, port: 5432, protocol: TCP}]"),
        gateway(
            "twins",
            "[{name: one, port: 80, protocol: HTTP, hostname: a.example.com}, {name: two, port: 80, protocol: HTTPS, hostname: b.example.com, tls: {certificateRefs: [{name: edge-tls}]}}]"
        ),
        route("orphan", "/orphan", "nobody").replace("name: edge", "name: absent"),
    ));
    object_is(
        SHOP,
        "gateway/broken",
        "ResolvedRefs",
        "False InvalidCertificateRef",
    )
    .await;
    object_is(SHOP, "gateway/broken", "Programmed", "False").await;
    object_is(
        SHOP,
        "gateway/strange",
        "Accepted",
        "False UnsupportedProtocol",
    )
    .await;
    object_is(SHOP, "gateway/twins", "Conflicted", "True ProtocolConflict").await;

    // A Secret that vanishes takes its listener out, and gives it back.
    apply(&certificate(&world.authority, "vanishing"));
    apply(&gateway(
        "brittle",
        "[{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: vanishing}]}}]",
    ));
    object_is(SHOP, "gateway/brittle", "Programmed", "True").await;
    kubectl(&["delete", "--namespace", SHOP, "secret", "vanishing"]);
    object_is(
        SHOP,
        "gateway/brittle",
        "ResolvedRefs",
        "False InvalidCertificateRef",
    )
    .await;
    apply(&certificate(&world.authority, "vanishing"));
    object_is(SHOP, "gateway/brittle", "Programmed", "True").await;

    kubectl(&[
        "delete",
        "--namespace",
        SHOP,
        "gateway",
        "broken",
        "strange",
        "twins",
        "brittle",
    ]);
    kubectl(&["delete", "--namespace", SHOP, "httproute", "orphan"]);
    kubectl(&[
        "delete",
        "--namespace",
        SHOP,
        "secret",
        "broken",
        "vanishing",
    ]);
    load.finish().await;
    let target = world.https();
    eventually("the good Gateway serves", || async {
        (client::fetch(&target, "/").await?.status == 200).then_some(())
    })
    .await;
}

pub(crate) async fn nonsense_in_a_policy_is_refused_at_apply(_: &mut World) {
    let policy = |spec: &str| {
        format!(
            "
apiVersion: tidegate.dev/v1alpha1
kind: QUICPolicy
metadata: {{name: nonsense, namespace: {SHOP}}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: edge}}]
  {spec}
"
        )
    };
    for spec in [
        "transport: {congestionControl: Fastest}",
        "transport: {idleTimeout: soon}",
        "http3: {advertisedPort: 70000}",
        "retry: Sometimes",
        "transport: {maxUDPPayloadSize: 100}",
    ] {
        let printed = try_apply(&policy(spec));
        assert!(!printed.ok, "{spec} was taken");
        assert!(printed.err.contains("spec."), "{spec}: {}", printed.err);
    }
}
