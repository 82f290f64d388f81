//! Certificates that change.

use tidegate_tests::{Tcp, Wire};

use crate::world::{World, apply, certificate, eventually};

pub(crate) async fn a_rotated_certificate_is_served_and_no_connection_is_lost(world: &mut World) {
    let target = world.https();
    let before = tidegate_tests::H3::connect(&target).await;
    assert_eq!(before.get("/").await.status, 200);
    let shown = |target: tidegate_tests::Target| async move {
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
