//! A whole control plane, started, stopped and started again in the same state folder.

use std::path::Path;

use serde_json::{Value, json};
use tidegate_proto::v1::{self, record::Kind, session_up::Message as Up};

use super::*;
use crate::harness::{Admin, FakeDataplane, FakeReporter, eventually, write};

const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: tidegate }
spec: { controllerName: tidegate.dev/gateway-controller }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: edge, namespace: default }
spec:
  gatewayClassName: tidegate
  listeners: [{ name: http, port: 8080, protocol: HTTP }]
";

struct Folders {
    resources: tempfile::TempDir,
    state: tempfile::TempDir,
}

impl Folders {
    fn with(resources: &str) -> Self {
        let folders = Self {
            resources: tempfile::tempdir().unwrap(),
            state: tempfile::tempdir().unwrap(),
        };
        write(folders.resources.path(), "gateway.yaml", resources);
        folders
    }

    fn config(&self) -> Config {
        let loopback = "127.0.0.1:0".parse().unwrap();
        Config {
            source: Source::Files(self.resources.path().into()),
            session_listen: loopback,
            admin_listen: loopback,
            state_dir: self.state.path().join("made/at/start"),
            admin_token: None,
            extra_metrics: None,
            metrics_listen: None,
            session_token_file: None,
            tls_names: vec![],
        }
    }

    async fn start(&self) -> (ControlPlane, Admin) {
        let plane = ControlPlane::start(self.config()).await.unwrap();
        let admin = Admin::new(plane.admin_addr(), plane.admin_token());
        (plane, admin)
    }
}

fn closed(sequence: u64) -> v1::Record {
    let connection = v1::Connection {
        id: format!("edge.0.{sequence}.1"),
        ..Default::default()
    };
    v1::Record {
        sequence,
        kind: Some(Kind::Closed(connection)),
    }
}

async fn config_version(admin: &Admin) -> String {
    eventually(async || {
        let (_, config) = admin.get("/v1/config").await;
        config["snapshot"]["version"].as_str().map(str::to_owned)
    })
    .await
}

#[tokio::test]
async fn a_report_that_is_sent_again_after_a_restart_is_not_doubled() {
    let folders = Folders::with(GATEWAY);
    let (plane, _) = folders.start().await;
    let mut reporter = FakeReporter::connect(plane.session_addr()).await;
    assert_eq!(
        reporter.report(vec![closed(1), closed(2)]).await.unwrap(),
        2
    );
    plane.shutdown().await;

    let (plane, admin) = folders.start().await;
    let mut reporter = FakeReporter::connect(plane.session_addr()).await;
    assert_eq!(
        reporter.report(vec![closed(2), closed(3)]).await.unwrap(),
        3
    );
    let (_, history) = admin.get("/v1/audit").await;
    assert_eq!(history["total"], 3, "{history}");
    plane.shutdown().await;
}

#[tokio::test]
async fn a_restart_keeps_token_keys_and_version() {
    let folders = Folders::with(GATEWAY);
    let (plane, admin) = folders.start().await;
    let token = plane.admin_token().to_owned();
    let version = config_version(&admin).await;
    plane.shutdown().await;
    let (plane, admin) = folders.start().await;
    assert_eq!(plane.admin_token(), token);
    assert_eq!(
        config_version(&admin).await,
        version,
        "equal content is an equal version"
    );

    let (status, rotated) = admin.post("/v1/keys/rotate", &json!({})).await;
    assert_eq!(status, 200, "{rotated}");
    let keys = eventually(async || {
        let (_, config) = admin.get("/v1/config").await;
        let keys = &config["snapshot"]["keys"];
        (keys["cid"].as_array()?.len() == 3).then(|| keys.clone())
    })
    .await;
    assert_eq!(
        keys["ticket"][0]["id"], rotated["ticket"],
        "dataplanes are told"
    );
    plane.shutdown().await;
}

#[tokio::test]
async fn a_dataplane_is_sent_the_key_to_use_the_next_one_and_the_one_before() {
    let folders = Folders::with(GATEWAY);
    let (plane, admin) = folders.start().await;
    let mut dataplane = FakeDataplane::connect(plane.session_addr(), "edge").await;
    let before = dataplane.snapshot().await;
    dataplane.ack(&before.version).await;
    admin.post("/v1/keys/rotate", &json!({})).await;
    let after = dataplane.snapshot().await;
    let (before, after) = (before.keys.unwrap(), after.keys.unwrap());
    assert_eq!(after.ticket.len(), 3);
    assert_eq!(after.ticket[0], before.ticket[1]);
    assert_eq!(after.ticket[2], before.ticket[0]);
    assert_eq!(after.cid[2], before.cid[0]);
    plane.shutdown().await;
}

#[tokio::test]
async fn an_edit_reaches_the_dataplane_and_a_refusal_shows_in_the_status() {
    let folders = Folders::with(GATEWAY);
    let (plane, admin) = folders.start().await;
    let mut dataplane = FakeDataplane::connect(plane.session_addr(), "edge").await;
    let first = dataplane.snapshot().await;
    assert_eq!(first.listeners[0].id, "default/edge/http");
    dataplane.ack(&first.version).await;
    let programmed = async |reason: &str| -> Value {
        eventually(async || {
            let (_, status) = admin.get("/v1/status").await;
            let mut objects = status["objects"].as_array()?.iter();
            let gateway =
                objects.find(|object| object["kind"] == "Gateway" && object["scope"] == "")?;
            let mut conditions = gateway["conditions"].as_array()?.iter();
            let condition = conditions.find(|condition| condition["type"] == "Programmed")?;
            (condition["reason"] == reason).then(|| condition.clone())
        })
        .await
    };
    assert_eq!(programmed("Programmed").await["status"], "True");

    write(
        folders.resources.path(),
        "gateway.yaml",
        &GATEWAY.replace("8080", "8081"),
    );
    let second = dataplane.snapshot().await;
    assert_eq!(second.listeners[0].port, 8081);
    let rejection = v1::Rejection {
        object: "default/edge/http".into(),
        field: "port".into(),
        message: "the port is in use".into(),
    };
    let nack = v1::Nack {
        version: second.version,
        rejections: vec![rejection],
    };
    dataplane.say(Up::Nack(nack)).await;
    let condition = programmed("Invalid").await;
    assert_eq!(condition["status"], "False");
    assert!(
        condition["message"].as_str().unwrap().contains("in use"),
        "{condition}"
    );
    let (_, dataplanes) = admin.get("/v1/dataplanes").await;
    let shown = &dataplanes["dataplanes"][0];
    assert_eq!(shown["acked_version"], first.version);
    assert_eq!(shown["nack"]["rejections"][0]["field"], "port");
    plane.shutdown().await;
}

#[tokio::test]
async fn a_broken_file_is_told_in_the_status_and_the_last_good_one_serves_on() {
    let folders = Folders::with(GATEWAY);
    let (plane, admin) = folders.start().await;
    let version = config_version(&admin).await;
    write(
        folders.resources.path(),
        "gateway.yaml",
        "kind: Gateway\nspec: [",
    );
    let file = eventually(async || {
        let (_, status) = admin.get("/v1/status").await;
        let mut objects = status["objects"].as_array()?.iter();
        objects.find(|object| object["kind"] == "File").cloned()
    })
    .await;
    assert_eq!(file["name"], "gateway.yaml");
    assert_eq!(file["conditions"][0]["status"], "False");
    assert_eq!(config_version(&admin).await, version);
    plane.shutdown().await;
}

#[tokio::test]
async fn what_must_not_be_started_is_refused() {
    let folders = Folders::with(GATEWAY);
    let refused = async |config: Config| match ControlPlane::start(config).await {
        Ok(_) => panic!("it was started"),
        Err(error) => format!("{error:#}"),
    };
    let open = Config {
        session_listen: "0.0.0.0:0".parse().unwrap(),
        ..folders.config()
    };
    assert!(refused(open).await.contains("not encrypted"));

    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config {
        admin_listen: taken.local_addr().unwrap(),
        ..folders.config()
    };
    let error = refused(config).await;
    assert!(
        error.contains("admin-listen") && error.contains("in use"),
        "{error}"
    );

    write(folders.state.path(), "file", "");
    let config = Config {
        state_dir: folders.state.path().join("file"),
        ..folders.config()
    };
    assert!(refused(config).await.contains("state folder"));
}

#[tokio::test]
async fn a_given_token_is_used_and_not_written_down() {
    let folders = Folders::with(GATEWAY);
    let config = Config {
        admin_token: Some("given".into()),
        ..folders.config()
    };
    let state = config.state_dir.clone();
    let plane = ControlPlane::start(config).await.unwrap();
    assert_eq!(plane.admin_token(), "given");
    assert_eq!(
        Admin::new(plane.admin_addr(), "given")
            .get("/v1/dataplanes")
            .await
            .0,
        200
    );
    assert!(!Path::exists(&state.join("admin.token")));
    plane.shutdown().await;
}

#[tokio::test]
async fn a_dropped_control_plane_lets_its_dataplanes_go() {
    let folders = Folders::with(GATEWAY);
    let (plane, _) = folders.start().await;
    let mut dataplane = FakeDataplane::connect(plane.session_addr(), "edge").await;
    dataplane.snapshot().await;
    drop(plane);
    assert_eq!(dataplane.end().await.code(), tonic::Code::Unavailable);
}
