//! A control plane that loses its leader.

use std::time::{Duration, Instant};

use tidegate_tests::H3;

use crate::{
    tools::get,
    world::{SHOP, SYSTEM, World, apply, eventually, kubectl, object_is, route},
};

fn holder() -> String {
    let lease = get(&["--namespace", SYSTEM, "lease", "tidegate-controlplane"]);
    let identity = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
    // A pod's name, and which run of it.
    identity.split('_').next().unwrap_or_default().to_owned()
}

pub(crate) async fn another_replica_takes_over_from_a_dead_leader_and_no_connection_notices(
    world: &mut World,
) {
    let connection = H3::connect(&world.https()).await;
    assert_eq!(connection.get("/").await.status, 200);
    let leader = holder();
    // Killed, not asked to leave: it cannot give its lease back.
    kubectl(&[
        "delete",
        "--namespace",
        SYSTEM,
        "pod",
        &leader,
        "--grace-period=0",
        "--force",
    ]);
    let died = Instant::now();
    let next = eventually("another replica holds the lease", || async {
        Some(holder()).filter(|now| !now.is_empty() && *now != leader)
    })
    .await;
    let took = died.elapsed();
    assert!(
        took < Duration::from_secs(30),
        "{next} took over after {took:?}"
    );

    apply(&route("shop", "/", "after-failover"));
    object_is(SHOP, "httproute/shop", "Accepted", "True").await;
    eventually("an edit under the new leader is served", || async {
        (connection.get("/").await.header("x-served-by") == "after-failover").then_some(())
    })
    .await;
    assert_eq!(connection.connection.close_reason(), None);
}
