//! Captures, asked of dataplanes piece by piece.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use reqwest::Method;
use serde_json::json;
use tidegate_proto::v1::{
    self, capture_next::What, command::Kind as Command, command_error::Code,
    command_reply::Kind as Reply,
};

use super::connected;
use crate::harness::{Harness, eventually};

type Asked = Arc<Mutex<Vec<Command>>>;

/// A dataplane that has these pieces of one capture, and then no news for ever.
async fn writing(harness: &Harness, id: &str, pieces: &[(&'static str, bool)]) -> Asked {
    let asked = Asked::default();
    let heard = Arc::clone(&asked);
    let mut pieces: VecDeque<_> = pieces.iter().copied().collect();
    harness.dataplane(id).await.answering(move |command| {
        heard.lock().unwrap().push(command.clone());
        match command {
            Command::BeginCapture(_) | Command::CaptureNext(_) => {
                Reply::CaptureBegun(v1::CaptureBegun { capture_id: 7 })
            }
            Command::ReadCapture(_) => {
                let (data, end) = pieces.pop_front().unwrap_or(("", false));
                Reply::CapturePiece(v1::CapturePiece {
                    data: data.into(),
                    end,
                })
            }
            Command::StopCapture(_) => Reply::Done(v1::Done {}),
            _ => Reply::Error(v1::CommandError {
                code: Code::Invalid.into(),
                message: "this is about captures".into(),
            }),
        }
    });
    asked
}

fn stopped(asked: &Asked) -> bool {
    let asked = asked.lock().unwrap();
    asked.iter().any(|command| {
        matches!(
            command,
            Command::StopCapture(v1::StopCapture { capture_id: 7 })
        )
    })
}

#[tokio::test]
async fn pieces_come_one_after_the_other_until_the_last() {
    let harness = Harness::start().await;
    let pieces = [
        ("one ", false),
        ("", false),
        ("two ", false),
        ("three", true),
    ];
    let asked = writing(&harness, "edge", &pieces).await;
    connected(&harness, 1).await;
    let path = "/v1/connections/edge.0.1.1/qlog";
    let body = json!({"duration_ms": 5, "max_bytes": 6, "level": "extra"});
    let request = harness.admin().request(Method::POST, path).json(&body);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), "one two three");
    let first = asked.lock().unwrap()[0].clone();
    let expected = v1::BeginCapture {
        connection_id: "edge.0.1.1".into(),
        limits: Some(v1::CaptureLimits {
            duration_ms: 5,
            max_bytes: 6,
        }),
        level: v1::QlogLevel::Extra.into(),
    };
    assert_eq!(first, Command::BeginCapture(expected));
    assert!(!stopped(&asked), "what is over need not be stopped");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_capture() {
    let harness = Harness::start().await;
    let asked = writing(&harness, "edge", &[("one", false)]).await;
    connected(&harness, 1).await;
    let path = "/v1/connections/edge.0.1.1/qlog";
    let request = harness.admin().request(Method::POST, path);
    let mut response = request.send().await.unwrap();
    assert_eq!(&response.chunk().await.unwrap().unwrap()[..], b"one");
    drop(response);
    eventually(async || stopped(&asked).then_some(())).await;
}

#[tokio::test]
async fn the_next_connection_is_waited_for_everywhere_and_captured_once() {
    let harness = Harness::start().await;
    let idle = writing(&harness, "a", &[]).await;
    let busy = writing(&harness, "b", &[("", false), ("all of it", true)]).await;
    connected(&harness, 2).await;
    let path = "/v1/connections/next/qlog";
    let body = json!({"peer": "192.0.2.7"});
    let request = harness.admin().request(Method::POST, path).json(&body);
    let response = request.send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "all of it");
    eventually(async || stopped(&idle).then_some(())).await;
    assert!(!stopped(&busy));
    let asked = idle.lock().unwrap()[0].clone();
    let Command::CaptureNext(next) = asked else {
        panic!("{asked:?}")
    };
    assert_eq!(next.what(), What::Qlog);
    assert_eq!(next.selector.unwrap().peer, "192.0.2.7/32");
}

#[tokio::test]
async fn key_logs_of_all_dataplanes_come_in_one_answer() {
    let harness = Harness::start().await;
    writing(&harness, "a", &[("a\n", false), ("end of a\n", true)]).await;
    writing(&harness, "b", &[("b\n", true)]).await;
    connected(&harness, 2).await;
    let path = "/v1/connections/next/keylog";
    let body = json!({"server_name": "Shop.example", "connections": 3});
    let request = harness.admin().request(Method::POST, path).json(&body);
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    let text = response.text().await.unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a", "b", "end of a"]);
}

#[tokio::test]
async fn without_a_dataplane_there_is_nothing_to_wait_for() {
    let harness = Harness::start().await;
    for path in ["/v1/connections/next/qlog", "/v1/connections/next/keylog"] {
        let (status, problem) = harness.admin().post(path, &json!({})).await;
        assert_eq!(status, 404, "{problem}");
    }
    let body = json!({"peer": "nowhere"});
    let (status, _) = harness
        .admin()
        .post("/v1/connections/next/keylog", &body)
        .await;
    assert_eq!(status, 400);
}
