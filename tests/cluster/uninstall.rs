//! Back to nothing.

use crate::{
    tools::{get, helm, run},
    world::{RELEASE, SHOP, SYSTEM, World, eventually, kubectl},
};

pub(crate) async fn uninstalling_leaves_nothing(_: &mut World) {
    // A Gateway takes with it what was made for it.
    kubectl(&["delete", "--namespace", SHOP, "gateway", "edge"]);
    eventually("nothing of the Gateway is left", || async {
        let kinds = "deployments,services,serviceaccounts,configmaps,poddisruptionbudgets,horizontalpodautoscalers,pods";
        let left = get(&["--namespace", SHOP, kinds, "--selector", "gateway.networking.k8s.io/gateway-name=edge"]);
        left["items"].as_array()?.is_empty().then_some(())
    })
    .await;
    helm(&[
        "uninstall",
        RELEASE,
        "--namespace",
        SYSTEM,
        "--wait",
        "--timeout",
        "5m",
    ]);
    eventually("nothing of the release is left", || async {
        let kinds = "deployments,services,serviceaccounts,configmaps,secrets,leases,pods,poddisruptionbudgets,roles,rolebindings";
        let left = get(&["--namespace", SYSTEM, kinds]);
        // Kubernetes' own: each namespace has them.
        let items = left["items"].as_array()?.iter();
        let ours: Vec<_> = items
            .map(|item| format!("{}/{}", item["kind"].as_str().unwrap_or_default(), item["metadata"]["name"].as_str().unwrap_or_default()))
            .filter(|name| !matches!(name.as_str(), "ConfigMap/kube-root-ca.crt" | "ServiceAccount/default"))
            .collect();
        ours.is_empty().then_some(())
    })
    .await;
    for kind in ["clusterroles", "clusterrolebindings", "gatewayclasses"] {
        let names = run(
            "kubectl",
            &[
                "get",
                kind,
                "--output",
                "name",
                "--selector",
                "app.kubernetes.io/instance=tidegate",
            ],
            "",
        )
        .out;
        assert_eq!(names, "", "{kind}");
    }
    kubectl(&["delete", "namespace", SHOP, SYSTEM, "--timeout=120s"]);
}
