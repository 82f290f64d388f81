//! Where packets come from.

use std::{collections::HashSet, time::Duration};

use serde_json::Value;
use tidegate_tests::Gateway;
use tokio::time::sleep;

use super::{KB, MB, file};
use crate::{
    client::Client,
    scene::{Outcome, Scene, Setup},
};

/// A connection over IPv6.
pub(crate) async fn ipv6(client: &Client) {
    let scene = Scene::new(Setup {
        gateway: Gateway::builder().ipv6(),
        ..Setup::default()
    });
    let paths = vec![file(5 * KB), file(10 * KB)];
    let outcome = scene.await.visit(client, paths).await;
    assert!(outcome.sources.iter().all(|source| source.is_ipv6()));
}

/// A transfer survives that the client's port changes.
pub(crate) async fn rebind_port(client: &Client) {
    let outcome = rebind(client, false).await;
    let ports: HashSet<u16> = outcome.sources.iter().map(|source| source.port()).collect();
    assert!(ports.len() > 1, "{:?}", outcome.sources);
}

/// A transfer survives that the client's address and port change.
pub(crate) async fn rebind_address(client: &Client) {
    let outcome = rebind(client, true).await;
    let addresses: HashSet<_> = outcome.sources.iter().map(|source| source.ip()).collect();
    assert!(addresses.len() > 1, "{:?}", outcome.sources);
}

/// The runner's: after one second, and then every five.
async fn rebind(client: &Client, roaming: bool) -> Outcome {
    let scene = Scene::new(Setup::default()).await;
    if roaming {
        scene.relay.roam();
    }
    let rebind = async {
        scene.begun().await;
        sleep(Duration::from_secs(1)).await;
        loop {
            scene.relay.rebind().await;
            sleep(Duration::from_secs(5)).await;
        }
    };
    let outcome = tokio::select! {
        outcome = scene.visit(client, vec![file(10 * MB)]) => outcome,
        () = rebind => unreachable!("it goes on"),
    };
    // The record has every change of address, in order.
    let changes = outcome.connection()["audit"]["path_changes"].as_array();
    let changes: Vec<&Value> = changes
        .into_iter()
        .flatten()
        .map(|change| &change["to"])
        .collect();
    let sources: Vec<String> = outcome.sources.iter().map(ToString::to_string).collect();
    assert_eq!(changes, sources[1..].iter().collect::<Vec<_>>());
    outcome
}
