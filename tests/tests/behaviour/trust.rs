//! Planes that are not on one machine: TLS with certificates that a token gets.

use std::{fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;
use tidegate_controlplane::{ControlPlane, Source};
use tidegate_dataplane::Dataplane;
use tidegate_tests::eventually;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

async fn control(home: &Path) -> ControlPlane {
    let folder = home.join("files");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(home.join("token"), format!("{TOKEN}\n")).expect("a token");
    let any = "127.0.0.1:0".parse().expect("an address");
    ControlPlane::start(tidegate_controlplane::Config {
        source: Source::Files(folder),
        session_listen: any,
        admin_listen: any,
        state_dir: home.join("state"),
        admin_token: Some("operator".to_owned()),
        extra_metrics: None,
        metrics_listen: Some(any),
        session_token_file: Some(home.join("token")),
        tls_names: vec![],
    })
    .await
    .expect("the control plane starts")
}

fn dataplane(home: &Path, id: &str, control: &[&ControlPlane], token: &str) -> Dataplane {
    let file = home.join(format!("{id}.token"));
    fs::write(&file, token).expect("a token");
    let url = |plane: &&ControlPlane| format!("https://localhost:{}", plane.session_addr().port());
    Dataplane::start(tidegate_dataplane::Config {
        id: id.to_owned(),
        control: control.iter().map(url).collect(),
        control_ca: Some(home.join("state/ca.crt")),
        token_file: Some(file),
        shards: 1,
        ..Default::default()
    })
    .expect("the data plane starts")
}

/// Ids of the data planes that a control plane sees.
async fn connected(plane: &ControlPlane) -> Vec<String> {
    let url = format!("http://{}/v1/dataplanes", plane.admin_addr());
    let response = reqwest::Client::new()
        .get(url)
        .bearer_auth("operator")
        .send()
        .await
        .expect("an answer");
    let list: Value = response.json().await.expect("JSON");
    let planes = list["dataplanes"].as_array().cloned().unwrap_or_default();
    planes
        .iter()
        .map(|plane| {
            plane["hello"]["dataplane_id"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
}

#[tokio::test]
async fn a_data_plane_with_the_token_gets_a_session_and_one_without_does_not() {
    let home = TempDir::new().expect("a folder");
    let control = control(home.path()).await;
    let stranger = dataplane(home.path(), "stranger", &[&control], "another token");
    let own = dataplane(home.path(), "own", &[&control], TOKEN);
    eventually("a session", || async {
        (connected(&control).await == ["own"]).then_some(())
    })
    .await;
    own.shutdown().await;
    stranger.shutdown().await;
    control.shutdown().await;
}

#[tokio::test]
async fn a_control_plane_that_is_not_trusted_learns_nothing() {
    let (home, other) = (
        TempDir::new().expect("a folder"),
        TempDir::new().expect("a folder"),
    );
    let (control, imposter) = (control(home.path()).await, control(other.path()).await);
    let plane = dataplane(home.path(), "own", &[&imposter, &control], TOKEN);
    eventually("a session with the one that is trusted", || async {
        (connected(&control).await == ["own"]).then_some(())
    })
    .await;
    assert!(connected(&imposter).await.is_empty());
    plane.shutdown().await;
    control.shutdown().await;
    imposter.shutdown().await;
}
