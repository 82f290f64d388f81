//! The admin API as an operator's script sees it.

use std::{net::SocketAddr, time::Duration};

use futures_util::StreamExt;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::{eventually, within};

/// Longer than any test should wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Records asked for at once; small enough that tests page.
const AUDIT_PAGE: usize = 200;

/// A client that holds the token.
#[derive(Clone)]
pub struct Admin {
    pub address: SocketAddr,
    pub token: String,
    http: reqwest::Client,
}

/// Body of a close command.
#[derive(Clone, Copy, Debug)]
pub struct Close<'a> {
    pub send_application_close: bool,
    pub error_code: u64,
    pub reason: &'a str,
}

impl Close<'_> {
    pub fn json(&self) -> Value {
        json!({
            "send_application_close": self.send_application_close,
            "error_code": self.error_code,
            "reason": self.reason,
        })
    }
}

impl Admin {
    pub(crate) fn new(address: SocketAddr, token: &str) -> Self {
        crate::authority::install_provider();
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("the provider is installed");
        Self {
            address,
            token: token.to_owned(),
            http,
        }
    }

    /// A request with the token, for what has no helper.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(&self.token)
    }

    /// A request without the token.
    pub fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("http://{}{path}", self.address))
            .timeout(TIMEOUT)
    }

    /// Status and JSON; null where the body is none.
    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        Self::answer(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        Self::answer(self.request(Method::POST, path).json(body)).await
    }

    async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
        let response = request.send().await.expect("the admin API answers");
        let status = response.status();
        let body = response
            .bytes()
            .await
            .expect("the admin API ends its answers");
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// 200's JSON.
    #[track_caller]
    pub fn read(&self, path: &str) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let (status, value) = self.get(path).await;
            assert_eq!(status, 200, "{caller}: GET {path}: {value}");
            value
        }
    }

    /// Live connections; `query` without the question mark.
    pub async fn connections(&self, query: &str) -> Vec<Value> {
        let page = self
            .read(&format!("/v1/connections?limit=1000&{query}"))
            .await;
        page["connections"].as_array().expect("a list").clone()
    }

    /// The live connection of a client that has this address.
    #[track_caller]
    pub fn connection_from(&self, peer: SocketAddr) -> impl Future<Output = Value> {
        let peer = peer.to_string();
        eventually("the client's connection is listed", move || {
            let peer = peer.clone();
            async move {
                self.connections("")
                    .await
                    .into_iter()
                    .find(|connection| connection["peer_address"] == peer)
            }
        })
    }

    /// The ID of a client's live connection.
    pub async fn id_from(&self, peer: SocketAddr) -> String {
        let id = self.connection_from(peer).await["id"].take();
        id.as_str().expect("a string").to_owned()
    }

    pub async fn connection(&self, id: &str) -> Value {
        self.read(&format!("/v1/connections/{id}")).await
    }

    pub async fn close(&self, id: &str, close: Close<'_>) -> (StatusCode, Value) {
        self.post(&format!("/v1/connections/{id}/close"), &close.json())
            .await
    }

    /// Audit records that match, newest first, over all pages.
    pub async fn audit(&self, query: &str) -> Vec<Value> {
        let (mut records, mut before) = (Vec::new(), 0);
        loop {
            let page = self
                .read(&format!(
                    "/v1/audit?limit={AUDIT_PAGE}&before={before}&{query}"
                ))
                .await;
            records.extend(page["records"].as_array().expect("a list").iter().cloned());
            before = page["next"].as_u64().expect("a number");
            if before == 0 {
                return records;
            }
        }
    }

    /// The audit record of a connection, once it has arrived.
    #[track_caller]
    pub fn audited(&self, id: &str) -> impl Future<Output = Value> {
        let id = id.to_owned();
        eventually("the connection's audit record arrives", move || {
            let query = format!("connection_id={id}");
            async move {
                let mut records = self.audit(&query).await;
                assert!(records.len() < 2, "one connection, one record: {records:?}");
                records.pop().map(|record| record["connection"].clone())
            }
        })
    }

    pub async fn drain_listener(&self, id: &str, body: &Value) -> (StatusCode, Value) {
        self.post(&format!("/v1/listeners/{}/drain", escaped(id)), body)
            .await
    }

    pub async fn undrain_listener(&self, id: &str) -> (StatusCode, Value) {
        self.post(
            &format!("/v1/listeners/{}/undrain", escaped(id)),
            &json!({}),
        )
        .await
    }

    /// Conditions of an object, and of the scopes within it, as `/v1/status` has them.
    pub async fn conditions(&self, kind: &str, name: &str) -> Vec<Value> {
        let status = self.read("/v1/status").await;
        let objects = status["objects"].as_array().expect("a list");
        (objects.iter())
            .filter(|object| object["kind"] == kind && object["name"] == name)
            .flat_map(|object| object["conditions"].as_array().cloned().unwrap_or_default())
            .collect()
    }

    /// Subscribes to events.
    pub async fn events(&self, query: &str) -> Events {
        let request = self
            .http
            .get(format!("http://{}/v1/events?{query}", self.address))
            .bearer_auth(&self.token);
        let response = request.send().await.expect("the admin API answers");
        assert_eq!(response.status(), 200, "/v1/events");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events {
            stream: Box::pin(response.bytes_stream()),
            text: String::new(),
        }
    }
}

/// Server-sent events as they come.
pub struct Events {
    stream:
        std::pin::Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    text: String,
}

impl Events {
    /// Name and data of the next event.
    #[track_caller]
    pub fn receive(&mut self) -> impl Future<Output = (String, Value)> {
        within("the next event comes", async move {
            loop {
                if let Some((event, rest)) = self.text.split_once("\n\n") {
                    let parsed = parse(event);
                    self.text = rest.to_owned();
                    match parsed {
                        Some(event) => return event,
                        // A comment, sent to keep the connection open.
                        None => continue,
                    }
                }
                let piece = self
                    .stream
                    .next()
                    .await
                    .expect("the stream goes on")
                    .expect("the stream is sound");
                self.text
                    .push_str(&String::from_utf8_lossy(&piece).replace('\r', ""));
            }
        })
    }

    /// The next event of this kind from a peer.
    #[track_caller]
    pub fn of(&mut self, kind: &str, peer: SocketAddr) -> impl Future<Output = Value> {
        let (kind, peer) = (kind.to_owned(), peer.to_string());
        async move {
            loop {
                let (name, data) = self.receive().await;
                if name == kind && data["peer_address"] == peer {
                    return data;
                }
            }
        }
    }
}

fn parse(event: &str) -> Option<(String, Value)> {
    let field = |name: &str| {
        let line = event.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim_start().to_owned())
    };
    let data = field("data:")?;
    Some((
        field("event:").unwrap_or_default(),
        serde_json::from_str(&data).unwrap_or(Value::Null),
    ))
}

/// Listener ids have slashes.
fn escaped(id: &str) -> String {
    id.replace('/', "%2F")
}
