//! From nothing to a response.

use crate::{
    client,
    tools::{get, helm, run},
    world::{
        HOST, RELEASE, SHOP, SYSTEM, World, address, apply, certificate, eventually, kubectl,
        object_is, pods, route,
    },
};

/// `helm install` with a first Gateway in the values.
pub(crate) async fn one_helm_install_ends_with_a_response_over_http3(world: &mut World) {
    assert!(
        !run("kubectl", &["get", "namespace", SYSTEM], "").ok,
        "namespace {SYSTEM} is there already; this story begins with nothing"
    );
    world.helm("install", &["gateway.enabled=true"]);
    object_is(SYSTEM, "gateway/tidegate", "Programmed", "True").await;
    let gateway = address(SYSTEM, "tidegate");
    let trusted = client::trusting_secret(SYSTEM, gateway, 443);
    let answer = eventually("a response over HTTP/3", || client::fetch(&trusted, "/")).await;
    // There is no route yet, and the gateway says so itself.
    assert_eq!(answer.status, 404);
    helm(&["test", RELEASE, "--namespace", SYSTEM, "--timeout", "3m"]);
}

pub(crate) async fn a_gateway_gets_its_own_data_plane_and_address(world: &mut World) {
    kubectl(&["create", "namespace", SHOP]);
    apply(&format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: upstream, namespace: {SHOP}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: upstream}}}}
  template:
    metadata: {{labels: {{app: upstream}}}}
    spec:
      containers:
      - name: upstream
        image: {image}
        imagePullPolicy: IfNotPresent
        command: [/tidegate, upstream, --listen, '0.0.0.0:8080']
        readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: upstream, namespace: {SHOP}}}
spec: {{selector: {{app: upstream}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
{certificate}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, namespace: {SHOP}}}
spec:
  gatewayClassName: tidegate
  listeners:
  - {{name: http, port: 80, protocol: HTTP}}
  - name: https
    port: 443
    protocol: HTTPS
    tls: {{certificateRefs: [{{name: edge-tls}}]}}
---
{route}
",
        image = world.image(),
        certificate = certificate(&world.authority, "edge-tls"),
        route = route("shop", "/", "first"),
    ));
    object_is(SHOP, "gateway/edge", "Programmed", "True").await;
    object_is(SHOP, "httproute/shop", "Accepted", "True").await;
    assert_ne!(address(SHOP, "edge"), address(SYSTEM, "tidegate"));

    let target = world.https();
    let answer = eventually("the route is served over HTTP/3", || async {
        client::fetch(&target, "/")
            .await
            .filter(|answer| answer.status == 200)
    })
    .await;
    assert_eq!(answer.header("x-served-by"), "first");
    for wire in [tidegate_tests::Wire::H1, tidegate_tests::Wire::H2] {
        let answer = client::fetch_tcp(&target, wire, "/")
            .await
            .expect("TCP is served as well");
        assert_eq!(answer.status, 200, "{wire:?}");
        assert!(
            answer.header("alt-svc").contains("h3=\":443\""),
            "{answer:?}"
        );
    }

    // The same port for both transports: what client-side apply would have merged into one.
    let services = get(&[
        "--namespace",
        SHOP,
        "services",
        "--selector",
        "gateway.networking.k8s.io/gateway-name=edge",
    ]);
    let ports = services["items"][0]["spec"]["ports"]
        .as_array()
        .expect("ports")
        .iter();
    let mut ports: Vec<_> = ports
        .map(|port| {
            (
                port["port"].as_i64().unwrap_or_default(),
                port["protocol"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    ports.sort_unstable();
    assert_eq!(ports, [(80, "TCP"), (443, "TCP"), (443, "UDP")], "{HOST}");
}

pub(crate) async fn pods_have_no_privileges(_: &mut World) {
    for (namespace, selector) in [
        (SYSTEM, "app.kubernetes.io/name=tidegate-controlplane"),
        (SHOP, "app.kubernetes.io/name=tidegate-dataplane"),
    ] {
        let names = pods(namespace, selector);
        assert!(!names.is_empty(), "{selector}");
        for name in names {
            let pod = get(&["--namespace", namespace, "pod", &name]);
            let (spec, container) = (
                &pod["spec"],
                &pod["spec"]["containers"][0]["securityContext"],
            );
            assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{name}");
            assert_eq!(container["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(container["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(container["capabilities"]["drop"][0], "ALL", "{name}");
            assert!(container["capabilities"]["add"].is_null(), "{name}");
        }
    }
}
