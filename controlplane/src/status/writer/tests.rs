use std::sync::Arc;

use serde_json::json;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::*;
use crate::{
    fleet::{Patience, Published},
    harness::{ApiServer, PATIENCE},
    resources::ObjectKey,
    status::{Condition, ConditionStatus, Scope},
    telemetry::Telemetry,
    translate::Translation,
};

const CLASSES: &str = "/apis/gateway.networking.k8s.io/v1/gatewayclasses";

fn accepted(generation: i64) -> Published {
    let status = ObjectStatus {
        kind: "GatewayClass",
        key: ObjectKey::new("", "tidegate"),
        source: String::new(),
        scope: Scope::Object,
        conditions: vec![Condition::new(
            "Accepted",
            ConditionStatus::True,
            "Accepted",
            "",
            generation,
        )],
    };
    Published {
        translation: Translation {
            statuses: vec![status],
            ..Translation::default()
        },
        ..Published::default()
    }
}

/// As the watch would.
fn see(server: &ApiServer, observed: &ObservedStatuses) {
    let class = server.get(CLASSES, "", "tidegate").unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    observed.saw(
        ("GatewayClass", ObjectKey::new("", "tidegate")),
        Observed {
            uid: text(&class["metadata"]["uid"]),
            resource_version: text(&class["metadata"]["resourceVersion"]),
            generation: 1,
            status: class["status"].clone(),
        },
    );
}

fn writes(server: &ApiServer) -> usize {
    let requests = server.requests();
    requests
        .iter()
        .filter(|request| request.starts_with("PATCH"))
        .count()
}

async fn eventually(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("in time");
}

#[tokio::test]
async fn the_leader_alone_writes_once_and_again_after_a_conflict() {
    let server = ApiServer::new(&[CLASSES]);
    let class = json!({"metadata": {"name": "tidegate"}, "status": {"conditions": []}});
    server.put(CLASSES, class.clone());
    let observed = Arc::new(ObservedStatuses::default());
    see(&server, &observed);
    // Someone writes, and the watch is late.
    let mut labelled = server.get(CLASSES, "", "tidegate").unwrap();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    server.put(CLASSES, labelled);

    let telemetry = Telemetry::new(None).unwrap();
    let fleet = Arc::new(Fleet::new(telemetry.instruments(), Patience::default()));
    fleet.offer(accepted(1));
    let leads = watch::Sender::new(false);
    let writer = Writer::new(
        server.client(),
        "tidegate.dev/gateway-controller".into(),
        Arc::clone(&observed),
        Arc::clone(&fleet),
        leads.subscribe(),
        telemetry.instruments(),
    );
    tokio::spawn(writer.run());
    sleep(Duration::from_millis(100)).await;
    assert_eq!(writes(&server), 0, "it does not lead");

    leads.send_replace(true);
    eventually(|| writes(&server) >= 1).await;
    let conditions =
        || server.get(CLASSES, "", "tidegate").unwrap()["status"]["conditions"].clone();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(conditions(), json!([]), "it was another object by then");
    see(&server, &observed);
    eventually(|| conditions()[0]["type"] == "Accepted").await;
    let once = writes(&server);
    sleep(Duration::from_millis(300)).await;
    assert_eq!(writes(&server), once, "nothing is different any more");

    // Somebody took it away.
    server.put(CLASSES, class);
    see(&server, &observed);
    eventually(|| conditions()[0]["type"] == "Accepted").await;
}
