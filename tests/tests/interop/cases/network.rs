//! Networks that lose, bend and fall silent.

use std::{collections::HashSet, time::Duration};

use serde_json::json;
use tidegate_tests::{Faults, Gateway};
use tokio::time::sleep;

use super::{KB, MB, file};
use crate::{
    client::Client,
    scene::{Scene, Setup},
    task::Visit,
};

/// The runner's longest row of datagrams that are lost or bent.
const BURST: u32 = 3;

/// A transfer survives that nothing passes for two seconds of every seven.
pub(crate) async fn blackhole(client: &Client) {
    let scene = Scene::new(Setup::default()).await;
    let black_out = async {
        scene.begun().await;
        loop {
            sleep(Duration::from_secs(5)).await;
            scene.relay.cut();
            sleep(Duration::from_secs(2)).await;
            scene.relay.mend();
        }
    };
    tokio::select! {
        _ = scene.visit(client, vec![file(10 * MB)]) => {}
        () = black_out => {}
    }
}

/// Handshakes complete under heavy loss.
pub(crate) async fn handshake_loss(client: &Client) {
    handshakes_under(
        client,
        Faults {
            loss: 0.3,
            ..Faults::default()
        },
    )
    .await;
}

/// Handshakes complete under heavy corruption.
pub(crate) async fn handshake_corruption(client: &Client) {
    handshakes_under(
        client,
        Faults {
            corruption: 0.3,
            ..Faults::default()
        },
    )
    .await;
}

/// A transfer completes under moderate loss.
pub(crate) async fn transfer_loss(client: &Client) {
    transfer_under(
        client,
        Faults {
            loss: 0.02,
            ..Faults::default()
        },
    )
    .await;
}

/// A transfer completes under moderate corruption.
pub(crate) async fn transfer_corruption(client: &Client) {
    transfer_under(
        client,
        Faults {
            corruption: 0.02,
            ..Faults::default()
        },
    )
    .await;
}

async fn handshakes_under(client: &Client, faults: Faults) {
    const HANDSHAKES: usize = 50;
    let scene = Scene::new(Setup {
        faults: Faults {
            burst: BURST,
            seed: 30,
            ..faults
        },
        // Time-outs double with each loss in a row; nobody is to give up meanwhile.
        gateway: Gateway::builder().tls_option("tidegate.dev/header-timeout", "3m"),
        policy: json!({"transport": {"handshakeTimeout": "5m", "idleTimeout": "3m"}}),
        ..Setup::default()
    });
    let scene = scene.await;
    let visit = Visit {
        paths: vec![file(KB)],
        ..Visit::default()
    };
    // One after the other, as the runner has it: among many at once, nothing would bound the losses
    // in a row of one. Each a full handshake.
    let mut task = scene.task(vec![visit; HANDSHAKES]);
    task.fresh = true;
    let outcome = scene.run(client, task).await;
    let ids: HashSet<&str> = (outcome.connections.iter())
        .filter(|connection| connection["tls"]["resumed"] == false)
        .filter_map(|connection| connection["id"].as_str())
        .collect();
    assert_eq!(ids.len(), HANDSHAKES, "{:?}", outcome.connections);
    let told = (outcome.report.visits.iter()).filter(|visit| visit.resumed == Some(true));
    assert_eq!(told.count(), 0, "the client's view");
}

async fn transfer_under(client: &Client, faults: Faults) {
    let scene = Scene::new(Setup {
        faults: Faults {
            burst: BURST,
            seed: 2,
            ..faults
        },
        ..Setup::default()
    });
    scene.await.visit(client, vec![file(2 * MB)]).await;
}
