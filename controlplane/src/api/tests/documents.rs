//! What the API says of itself and of the process.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use tidegate_proto::v1::{self, session_up::Message as Up};

use crate::harness::{Harness, configuration, eventually};

async fn text(harness: &Harness, path: &str) -> (u16, String) {
    let response = harness
        .admin()
        .anonymous(Method::GET, path)
        .send()
        .await
        .unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn every_route_is_described() {
    let harness = Harness::start().await;
    let (status, description) = text(&harness, "/openapi.json").await;
    assert_eq!(status, 200);
    let description: Value = serde_json::from_str(&description).unwrap();
    let paths = description["paths"].as_object().unwrap();
    let found: BTreeSet<_> = paths
        .iter()
        .flat_map(|(path, methods)| {
            methods
                .as_object()
                .unwrap()
                .keys()
                .map(move |method| format!("{method} {path}"))
        })
        .collect();
    let expected = [
        "get /v1/audit",
        "get /v1/config",
        "get /v1/connections",
        "get /v1/connections/{id}",
        "get /v1/dataplanes",
        "get /v1/events",
        "get /v1/listeners",
        "get /v1/status",
        "post /v1/connections/close",
        "post /v1/connections/next/keylog",
        "post /v1/connections/next/qlog",
        "post /v1/connections/{id}/close",
        "post /v1/connections/{id}/qlog",
        "post /v1/dataplanes/{id}/drain",
        "post /v1/dataplanes/{id}/undrain",
        "post /v1/keys/rotate",
        "post /v1/listeners/{id}/drain",
        "post /v1/listeners/{id}/undrain",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
    let schemas = &description["components"]["schemas"];
    assert_eq!(
        schemas["SocketStats"]["properties"]["rtt_us"]["type"],
        "integer"
    );
    assert!(schemas["ClosedBy"].to_string().contains("idle_timeout"));
    assert_eq!(
        description["components"]["securitySchemes"]["token"]["scheme"],
        "bearer"
    );
}

#[tokio::test]
async fn every_reference_in_the_description_leads_somewhere() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    found.insert(reference.clone());
                }
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let harness = Harness::start().await;
    let (_, description) = text(&harness, "/openapi.json").await;
    let description: Value = serde_json::from_str(&description).unwrap();
    let mut found = BTreeSet::new();
    references(&description, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn the_documentation_can_be_browsed_without_a_network() {
    let harness = Harness::start().await;
    let (status, page) = text(&harness, "/docs/").await;
    assert_eq!(status, 200);
    let mut sources = Vec::new();
    for attribute in ["src=\"", "href=\""] {
        for part in page.split(attribute).skip(1) {
            sources.push(part.split('"').next().unwrap());
        }
    }
    assert!(sources.len() >= 3, "{page}");
    for source in sources {
        assert!(!source.contains("//"), "{source} is elsewhere");
        let (status, content) = text(&harness, &format!("/docs/{source}")).await;
        assert_eq!(status, 200, "{source}");
        assert!(!content.is_empty(), "{source}");
    }
    let (_, initializer) = text(&harness, "/docs/swagger-initializer.js").await;
    assert!(initializer.contains("/openapi.json"), "{initializer}");
    let redirected = harness
        .admin()
        .anonymous(Method::GET, "/docs")
        .send()
        .await
        .unwrap();
    assert_eq!(redirected.status(), 200);
}

#[tokio::test]
async fn ready_means_that_a_dataplane_serves_the_current_configuration() {
    let harness = Harness::start().await;
    assert_eq!(text(&harness, "/healthz").await.0, 200);
    let expect = async |status: u16, word: &str| {
        eventually(async || {
            let (found, reason) = text(&harness, "/readyz").await;
            (found == status && reason.contains(word)).then_some(())
        })
        .await;
    };
    expect(503, "not read").await;
    harness.fleet.offer(configuration("v1", &[]));
    expect(503, "no dataplane").await;
    let mut dataplane = harness.dataplane("edge").await;
    dataplane.snapshot().await;
    expect(503, "not acknowledged").await;
    dataplane.ack("v1").await;
    expect(503, "default/edge/https is not up").await;
    let up = |quic_up| {
        let id = "default/edge/https".into();
        let listener = v1::ListenerState {
            id,
            tcp_up: true,
            quic_up,
            ..Default::default()
        };
        Up::State(v1::DataplaneState {
            listeners: vec![listener],
            ..Default::default()
        })
    };
    dataplane.say(up(false)).await;
    expect(503, "is not up").await;
    dataplane.say(up(true)).await;
    expect(200, "ready").await;
    harness.fleet.offer(configuration("v2", &[]));
    expect(503, "not acknowledged").await;
    dataplane.snapshot().await;
    dataplane.ack("v2").await;
    expect(200, "ready").await;
}

#[tokio::test]
async fn metrics_of_this_plane_and_of_the_other_are_one_text() {
    let harness = Harness::start().await;
    harness.fleet.offer(configuration("v1", &[]));
    let _dataplane = harness.dataplane("edge").await;
    eventually(async || {
        let (status, metrics) = text(&harness, "/metrics").await;
        assert_eq!(status, 200);
        metrics
            .contains("tidegate_controlplane_sessions 1\n")
            .then_some(())
    })
    .await;
    harness.admin().get("/v1/connections/none").await;
    let (_, metrics) = text(&harness, "/metrics").await;
    assert!(
        metrics.contains("tidegate_controlplane_snapshots_published_total 1\n"),
        "{metrics}"
    );
    assert!(metrics.ends_with("\nother_plane 1\n"), "{metrics}");
    let route = r#"http_route="/v1/connections/{id}""#;
    assert!(
        metrics.contains(route),
        "routes, not paths, are labels: {metrics}"
    );
    for line in metrics.lines().filter(|line| line.starts_with("# TYPE ")) {
        assert_eq!(
            metrics.lines().filter(|other| *other == line).count(),
            1,
            "{line}"
        );
    }
}

#[tokio::test]
async fn the_configuration_shows_what_is_served_and_no_secret() {
    let harness = Harness::start().await;
    let mut published = configuration("v1", &[("default/shop:80", 8001)]);
    let snapshot = published.translation.snapshots.get_mut("").unwrap();
    snapshot.certificates = vec![v1::Certificate {
        id: "default/site".into(),
        chain_pem: "CHAIN".into(),
        private_key_pem: "SECRET".into(),
    }];
    let key = v1::Key {
        id: 3,
        material: "SECRET".into(),
    };
    snapshot.keys = Some(v1::Keys {
        ticket: vec![key],
        ..Default::default()
    });
    harness.fleet.offer(published);
    let (status, shown) = harness.admin().get("/v1/config").await;
    assert_eq!(status, 200);
    assert_eq!(
        shown["snapshot"]["listeners"][0]["id"],
        "default/edge/https"
    );
    assert_eq!(shown["snapshot"]["certificates"][0]["chain_pem"], "CHAIN");
    assert_eq!(shown["snapshot"]["keys"]["ticket"], json!([{"id": 3}]));
    assert_eq!(
        shown["endpoints"][0]["endpoints"],
        json!([{"address": "127.0.0.1", "port": 8001}])
    );
    assert!(!shown.to_string().contains("SECRET"));
}

#[tokio::test]
async fn keys_are_rotated_on_demand() {
    let harness = Harness::start().await;
    let (status, first) = harness.admin().post("/v1/keys/rotate", &json!({})).await;
    assert_eq!(status, 200);
    let (_, second) = harness.admin().post("/v1/keys/rotate", &json!({})).await;
    for kind in ["ticket", "retry", "reset", "cid"] {
        assert_eq!(
            second[kind].as_u64().unwrap(),
            first[kind].as_u64().unwrap() + 1,
            "{kind}"
        );
    }
    assert!(second["rotated_at_ms"].as_i64().unwrap() > 1_600_000_000_000);
}
