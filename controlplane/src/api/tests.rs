//! The API over real sockets, with dataplanes that do what a test says.

mod captures;
mod commands;
mod documents;
mod watching;

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::json;
use tidegate_proto::v1;

use crate::harness::{Harness, TOKEN, answer, eventually};

async fn connected(harness: &Harness, count: usize) {
    eventually(async || (harness.fleet.dataplanes().len() == count).then_some(())).await;
}

#[tokio::test]
async fn nothing_under_v1_is_told_without_the_token() {
    let harness = Harness::start().await;
    let admin = harness.admin();
    for (method, path) in [
        (Method::GET, "/v1/dataplanes"),
        (Method::GET, "/v1/connections"),
        (Method::POST, "/v1/connections/edge.0.1.1/close"),
        (Method::GET, "/v1/events"),
        (Method::POST, "/v1/keys/rotate"),
    ] {
        let bare = admin.anonymous(method.clone(), path);
        let wrong = admin
            .anonymous(method.clone(), path)
            .bearer_auth("let-me-on");
        let basic = admin
            .anonymous(method, path)
            .basic_auth("admin", Some(TOKEN));
        for request in [bare, wrong, basic] {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 401, "{path}");
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
            assert_eq!(
                response.headers()["content-type"],
                "application/problem+json"
            );
            let problem: serde_json::Value = response.json().await.unwrap();
            assert_eq!(problem["status"], 401);
            assert!(problem["detail"].as_str().unwrap().contains("admin.token"));
        }
    }
    assert_eq!(
        admin.get("/v1/dataplanes").await,
        (200.try_into().unwrap(), json!({"dataplanes": []}))
    );
}

#[tokio::test]
async fn grpc_wants_the_same_token_on_the_same_port() {
    use tonic::{Code, Request, transport::Channel};
    use v1::admin_client::AdminClient;

    let harness = Harness::start().await;
    harness
        .dataplane("edge")
        .await
        .answering(|_| panic!("nothing is asked of it"));
    connected(&harness, 1).await;
    let channel = Channel::from_shared(harness.admin().base())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = AdminClient::new(channel);
    let refused = client
        .list_dataplanes(v1::ListDataplanesRequest {})
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);

    let mut request = Request::new(v1::ListDataplanesRequest {});
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    let listed = client.list_dataplanes(request).await.unwrap().into_inner();
    assert_eq!(
        listed.dataplanes[0].hello.as_ref().unwrap().dataplane_id,
        "edge"
    );

    let id = "nobody.0.1.1".into();
    let mut request = Request::new(v1::GetConnectionRequest { id });
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    assert_eq!(
        client.get_connection(request).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_as_problem_json() {
    let harness = Harness::start().await;
    let admin = harness.admin();
    for (method, path, status, word) in [
        (Method::GET, "/v1/nothing", 404, "/docs"),
        (Method::GET, "/elsewhere", 404, "/docs"),
        (Method::DELETE, "/v1/dataplanes", 405, "DELETE"),
        (Method::GET, "/v1/connections?limit=1001", 400, "limit"),
        (Method::GET, "/v1/connections?limit=many", 400, "limit"),
        (Method::GET, "/v1/connections?peer=nowhere", 400, "peer"),
        (Method::GET, "/v1/connections?colour=blue", 400, "colour"),
        (Method::GET, "/v1/connections?after=7", 400, "7"),
        (
            Method::GET,
            "/v1/connections?min_age_ms=2&max_age_ms=1",
            400,
            "max_age_ms",
        ),
        (
            Method::GET,
            "/v1/connections/7",
            400,
            "dataplane.shard.slot.generation",
        ),
        (Method::GET, "/v1/connections/nobody.0.1.1", 404, "nobody"),
        (
            Method::POST,
            "/v1/connections/nobody.0.1.1/close",
            404,
            "nobody",
        ),
        (Method::POST, "/v1/connections/close", 400, "selector"),
        (Method::POST, "/v1/dataplanes/nobody/drain", 404, "nobody"),
        (Method::POST, "/v1/listeners/d%2Fg%2Fl/drain", 404, "d/g/l"),
        (Method::GET, "/v1/audit?before=x", 400, "before"),
        (Method::GET, "/v1/config", 404, "not read"),
        (Method::GET, "/v1/config?dataplane=nobody", 404, "nobody"),
    ] {
        let response = admin.request(method.clone(), path).send().await.unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        let kind = &response.headers()["content-type"];
        assert_eq!(kind, "application/problem+json", "{method} {path}");
        let problem: BTreeMap<String, serde_json::Value> = response.json().await.unwrap();
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["status"], status);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(word), "{method} {path}: {detail}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_understood_is_refused() {
    let harness = Harness::start().await;
    let path = "/v1/connections/edge.0.1.1/close";
    for body in ["{", "[]", r#"{"code":256}"#, r#"{"error_code":-1}"#] {
        let request = harness.admin().request(Method::POST, path).body(body);
        let (status, problem) = answer(request).await;
        assert_eq!(status, 400, "{body}: {problem}");
    }
    for body in [
        json!({"error_code": 1_u64 << 62}),
        json!({"reason": "x".repeat(257)}),
    ] {
        let (status, _) = harness.admin().post(path, &body).await;
        assert_eq!(status, 400, "{body}");
    }
}
