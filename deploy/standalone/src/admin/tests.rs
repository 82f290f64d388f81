use std::{convert::Infallible, path::Path};

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;

/// An API that knows the token `right`, answers with what it was asked, and refuses the
/// path `/v1/refused`.
async fn api() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer));
            tokio::spawn(serving);
        }
    });
    format!("http://{address}/")
}

async fn answer(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("body").to_bytes();
    let answered = |status: u16, value: Value| {
        Ok(Response::builder()
            .status(status)
            .body(value.to_string())
            .expect("response"))
    };
    if head.headers[AUTHORIZATION] != "Bearer right" {
        return answered(401, json!({}));
    }
    if head.uri.path() == "/v1/refused" {
        let detail = "connection `a.0.1.1` is not there";
        let problem = json!({
            "type": "about:blank", "title": "Not Found", "status": 404, "detail": detail,
        });
        return answered(404, problem);
    }
    if head.uri.path() == "/v1/teapot" {
        return answered(418, json!("short and stout"));
    }
    let body = String::from_utf8_lossy(&body);
    answered(200, json!({ "target": head.uri.to_string(), "body": body }))
}

fn client(admin: &str, folder: &Path, token: &str) -> Result<AdminClient, AdminError> {
    let file = folder.join("token");
    std::fs::write(&file, token).expect("written");
    AdminClient::new(&AdminArgs {
        admin: admin.into(),
        admin_ca: None,
        token_file: Some(file),
        output: Output::Table,
        state: StateArgs {
            state: folder.into(),
        },
    })
}

#[tokio::test]
async fn calls_carry_the_token_the_query_and_the_body() {
    let folder = tempfile::tempdir().expect("temp dir");
    let client = client(&api().await, folder.path(), "right\n").expect("client");
    let query = Query::path(&["v1", "connections", "a/b"]).with("limit", 3);
    let answer = client.fetch_json(&query).await.expect("answered");
    assert_eq!(answer["target"], "/v1/connections/a%2Fb?limit=3");
    let answer = client
        .post(&query, &json!({ "deadline_ms": 5 }))
        .await
        .expect("answered");
    assert_eq!(answer["body"], r#"{"deadline_ms":5}"#);
}

#[tokio::test]
async fn a_wrong_token_is_reported_with_the_file_it_came_from() {
    let folder = tempfile::tempdir().expect("temp dir");
    let client = client(&api().await, folder.path(), "wrong").expect("client");
    let error = client
        .fetch_json(&Query::path(&["v1"]))
        .await
        .expect_err("refused");
    let file = folder.path().join("token").display().to_string();
    assert!(matches!(error, AdminError::Unauthorized(..)), "{error}");
    assert!(error.to_string().contains(&file), "{error}");
}

#[tokio::test]
async fn the_words_of_a_problem_are_passed_on() {
    let folder = tempfile::tempdir().expect("temp dir");
    let client = client(&api().await, folder.path(), "right").expect("client");
    let error = client
        .fetch_json(&Query::path(&["v1", "refused"]))
        .await
        .expect_err("refused");
    assert_eq!(error.to_string(), "connection `a.0.1.1` is not there");
    let error = client
        .fetch_json(&Query::path(&["v1", "teapot"]))
        .await
        .expect_err("refused");
    assert!(matches!(error, AdminError::Unexpected(..)), "{error}");
}

#[tokio::test]
async fn nobody_there_says_how_to_start_it() {
    let folder = tempfile::tempdir().expect("temp dir");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
    let address = listener.local_addr().expect("address");
    drop(listener);
    let client = client(&format!("http://{address}"), folder.path(), "right").expect("client");
    let error = client
        .fetch_json(&Query::path(&["v1"]))
        .await
        .expect_err("refused");
    assert!(matches!(error, AdminError::Unreachable(..)), "{error}");
    assert!(error.to_string().contains("tidegate up"), "{error}");
}

#[test]
fn a_missing_token_or_a_bad_address_is_found_before_anything_is_sent() {
    let folder = tempfile::tempdir().expect("temp dir");
    let missing = AdminClient::new(&AdminArgs {
        admin: "http://127.0.0.1:9090".into(),
        admin_ca: None,
        token_file: Some(folder.path().join("missing")),
        output: Output::Table,
        state: StateArgs {
            state: folder.path().into(),
        },
    });
    assert!(matches!(missing, Err(AdminError::NoToken(_))));
    let bad = client("127.0.0.1:9090", folder.path(), "right");
    assert!(matches!(bad, Err(AdminError::Address(..))));
    let bad = client("http://127.0.0.1:9090", folder.path(), "two\nlines");
    assert!(matches!(bad, Err(AdminError::TokenText(_))));
}
