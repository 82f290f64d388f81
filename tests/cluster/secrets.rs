//! Certificates and keys that change.

use serde_json::{Value, json};
use tidegate_controlplane::ech::EchKeys;
use tidegate_tests::{H3, Target, Tcp, Wire};

use crate::{
    client,
    world::{SHOP, World, apply, certificate, certificate_for, eventually, kubectl},
};

pub(crate) async fn a_rotated_certificate_is_served_and_no_connection_is_lost(world: &mut World) {
    let target = world.https();
    let before = H3::connect(&target).await;
    assert_eq!(before.get("/").await.status, 200);
    let shown = |target: Target| async move {
        Tcp::try_connect(&target, Wire::H2)
            .await
            .ok()?
            .certificate
            .clone()
    };
    let old = shown(target.clone()).await.expect("a certificate");
    apply(&certificate(&world.authority, "edge-tls"));
    eventually("the new certificate is shown", || async {
        (shown(target.clone()).await? != old).then_some(())
    })
    .await;
    assert_eq!(before.get("/").await.status, 200);
    assert_eq!(before.connection.close_reason(), None);
}

pub(crate) async fn names_are_hidden_by_keys_from_a_secret(world: &mut World) {
    let plain = world.https();
    let hidden = |keys: &EchKeys| plain.encrypted(&world.authority, &keys.config_list());
    let before = H3::connect(&plain).await;
    let keys = EchKeys::renewed(PUBLIC, None).expect("the name is sound");
    apply(&keys.to_manifest("ech", SHOP));
    apply(&certificate_for(PUBLIC, &world.authority, "public-tls"));
    change(json!({
        "certificateRefs": [{"name": "edge-tls"}, {"name": "public-tls"}],
        "options": {"tidegate.dev/ech": "ech"},
    }));
    // Whose hello is not understood, or read in clear, does not go on.
    served(&hidden(&keys)).await;

    let renewed = EchKeys::renewed(PUBLIC, Some(keys.clone())).expect("the name is sound");
    apply(&renewed.to_manifest("ech", SHOP));
    served(&hidden(&renewed)).await;
    served(&hidden(&keys)).await;
    served(&plain).await;
    assert_eq!(before.get("/").await.status, 200);
    assert_eq!(before.connection.close_reason(), None);
    change(json!({"certificateRefs": [{"name": "edge-tls"}]}));
    served(&plain).await;
    kubectl(&["delete", "--namespace", SHOP, "secret", "ech", "public-tls"]);
}

/// Changes what the team's Gateway says of TLS.
fn change(tls: Value) {
    let place = "/spec/listeners/1/tls";
    let patch = json!([{"op": "replace", "path": place, "value": tls}]).to_string();
    let gateway = ["patch", "--namespace", SHOP, "gateway", "edge"];
    kubectl(&[&gateway[..], &["--type", "json", "--patch", &patch]].concat());
}

/// Waits until a client is served over HTTP/3 and over TCP.
async fn served(target: &Target) {
    eventually("the client is served", || async {
        let over_quic = client::fetch(target, "/").await?;
        let over_tcp = client::fetch_tcp(target, Wire::H2, "/").await?;
        (over_quic.status == 200 && over_tcp.status == 200).then_some(())
    })
    .await;
}

/// What clients say in clear.
const PUBLIC: &str = "public.example.com";
