//! The admin API, with the cluster's own accounts and roles.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::Value;
use tidegate_tests::H3;

use crate::{
    tools::get,
    world::{SHOP, SYSTEM, World, eventually, kubectl},
};

/// Speaks to the admin API through `kubectl port-forward`, as an account of the cluster.
struct Operator {
    forward: Child,
    /// kubectl ends when nobody reads what it prints.
    _printed: BufReader<ChildStdout>,
    base: String,
    token: String,
    client: reqwest::Client,
}

impl Operator {
    /// As a new ServiceAccount with one of the ready-made roles.
    async fn with_role(role: &str) -> Self {
        kubectl(&["create", "--namespace", SYSTEM, "serviceaccount", role]);
        kubectl(&[
            "create",
            "clusterrolebinding",
            &format!("test-{role}"),
            "--clusterrole",
            role,
            "--serviceaccount",
            &format!("{SYSTEM}:{role}"),
        ]);
        let token = kubectl(&["create", "--namespace", SYSTEM, "token", role])
            .trim()
            .to_owned();
        let mut forward = Command::new("kubectl")
            .args([
                "port-forward",
                "--namespace",
                SYSTEM,
                "service/tidegate-controlplane",
                ":9090",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("kubectl is there");
        let mut line = String::new();
        let mut printed = BufReader::new(forward.stdout.take().expect("it is piped"));
        printed.read_line(&mut line).expect("kubectl says the port");
        let port = line
            .split(" -> ")
            .next()
            .and_then(|head| head.rsplit(':').next())
            .unwrap_or_default()
            .to_owned();
        // Data planes have the authority's certificate beside them.
        let labelled = [
            "--namespace",
            SHOP,
            "configmaps",
            "--selector",
            "gateway.networking.k8s.io/gateway-name=edge",
        ];
        let bundle = get(&labelled);
        let pem = bundle["items"][0]["data"]["ca.crt"]
            .as_str()
            .expect("the authority is published")
            .to_owned();
        let client = reqwest::Client::builder()
            .tls_certs_only(
                reqwest::Certificate::from_pem_bundle(pem.as_bytes()).expect("it is PEM"),
            )
            .build()
            .expect("a client");
        Self {
            forward,
            _printed: printed,
            base: format!("https://localhost:{port}"),
            token,
            client,
        }
    }

    async fn ask(&self, method: &str, path: &str) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.token);
        let request = request
            .header("content-type", "application/json")
            .body("{}");
        let response = request
            .send()
            .await
            .unwrap_or_else(|error| panic!("{path}: {error:?}"));
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }

    /// The id of a connection, known by how many requests it had: its address is another
    /// one behind a Service.
    async fn find(&self, connection: &H3) -> String {
        for _ in 0..REQUESTS {
            assert_eq!(connection.get("/").await.status, 200);
        }
        eventually("the connection is listed", || async {
            let (status, list) = self.ask("GET", "/v1/connections?limit=1000").await;
            assert_eq!(status, 200, "{list}");
            let mut all = list["connections"].as_array()?.iter();
            let found = all.find(|one| one["requests"] == REQUESTS && one["stage"] == "running")?;
            Some(found["id"].as_str()?.to_owned())
        })
        .await
    }
}

/// More than any other connection has.
const REQUESTS: u64 = 23;

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.forward.kill();
        let _ = self.forward.wait();
    }
}

pub(crate) async fn a_viewer_may_look_and_not_close(world: &mut World) {
    let viewer = Operator::with_role("tidegate-viewer").await;
    let connection = H3::connect(&world.https()).await;
    let id = viewer.find(&connection).await;
    let (status, problem) = viewer
        .ask("POST", &format!("/v1/connections/{id}/close"))
        .await;
    assert_eq!(status, 403, "{problem}");
    assert!(problem.to_string().contains("connections"), "{problem}");
    assert_eq!(connection.get("/").await.status, 200);

    let nobody = reqwest::Client::clone(&viewer.client);
    let unknown = nobody
        .get(format!("{}/v1/connections", viewer.base))
        .bearer_auth("made-up");
    assert_eq!(unknown.send().await.expect("an answer").status(), 401);
}

pub(crate) async fn an_operator_closes_a_connection(world: &mut World) {
    let operator = Operator::with_role("tidegate-operator").await;
    let connection = H3::connect(&world.https()).await;
    let id = operator.find(&connection).await;
    let (status, answer) = operator
        .ask("POST", &format!("/v1/connections/{id}/close"))
        .await;
    assert_eq!(status, 200, "{answer}");
    connection.closed().await;
    eventually("the record of the connection", || async {
        let (_, record) = operator
            .ask("GET", &format!("/v1/audit/connections/{id}"))
            .await;
        record.to_string().contains(&id).then_some(())
    })
    .await;
    for role in ["tidegate-viewer", "tidegate-operator"] {
        kubectl(&["delete", "clusterrolebinding", &format!("test-{role}")]);
        kubectl(&["delete", "--namespace", SYSTEM, "serviceaccount", role]);
    }
}
