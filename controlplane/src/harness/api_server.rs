//! An API server in memory: collections that are listed, watched, written.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode};
use kube::Client;
use serde_json::{Value, json};

/// Objects by collection, such as `/api/v1/secrets`. A collection that was not made is
/// not there, like a kind without its definition.
#[derive(Clone, Default)]
pub(crate) struct ApiServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    version: u64,
    collections: BTreeMap<String, BTreeMap<String, Value>>,
    /// Version, collection and event.
    log: Vec<(u64, String, Value)>,
    /// Requests, as `METHOD path`.
    requests: Vec<String>,
    /// Every request fails.
    down: bool,
}

impl ApiServer {
    /// With these collections, empty.
    pub(crate) fn new(collections: &[&str]) -> Self {
        let server = Self::default();
        for collection in collections {
            server.install(collection);
        }
        server
    }

    pub(crate) fn install(&self, collection: &str) {
        self.locked()
            .collections
            .entry(collection.to_owned())
            .or_default();
    }

    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        let router = Router::new().fallback(move |request: Request| {
            let server = server.clone();
            async move { server.answer(request).await }
        });
        Client::new(router, "default")
    }

    /// Puts an object there, with a new version.
    pub(crate) fn put(&self, collection: &str, object: Value) {
        self.locked().put(collection, object);
    }

    pub(crate) fn delete(&self, collection: &str, namespace: &str, name: &str) {
        let mut state = self.locked();
        let key = format!("{namespace}/{name}");
        let gone = state
            .collections
            .get_mut(collection)
            .and_then(|all| all.remove(&key));
        if let Some(mut object) = gone {
            state.version += 1;
            object["metadata"]["resourceVersion"] = state.version.to_string().into();
            let event = json!({"type": "DELETED", "object": object});
            let version = state.version;
            state.log.push((version, collection.to_owned(), event));
        }
    }

    pub(crate) fn get(&self, collection: &str, namespace: &str, name: &str) -> Option<Value> {
        let state = self.locked();
        state
            .collections
            .get(collection)?
            .get(&format!("{namespace}/{name}"))
            .cloned()
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.locked().requests.clone()
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.locked().down = down;
    }

    async fn answer(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let (path, query) = (
            parts.uri.path().to_owned(),
            parts.uri.query().unwrap_or_default().to_owned(),
        );
        let query = query.replace("%3D", "=");
        {
            let mut state = self.locked();
            state.requests.push(format!("{} {path}", parts.method));
            if state.down {
                return failure(StatusCode::SERVICE_UNAVAILABLE, "down");
            }
        }
        let Some(target) = Target::parse(&path) else {
            return failure(StatusCode::NOT_FOUND, "no such path");
        };
        if !self.locked().collections.contains_key(&target.collection) {
            return failure(
                StatusCode::NOT_FOUND,
                "the server could not find the requested resource",
            );
        }
        let of_query = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
        };
        let named = of_query("fieldSelector")
            .and_then(|selector| selector.strip_prefix("metadata.name=").map(str::to_owned));
        if of_query("watch").is_some() {
            let since = of_query("resourceVersion").and_then(|version| version.parse().ok());
            return self.watch(target.collection, named, since.unwrap_or_default());
        }
        let mut state = self.locked();
        let body = || serde_json::from_slice::<Value>(&body).unwrap();
        match (parts.method, target.name.as_deref()) {
            (Method::GET, None) => state.list(&target, named.as_deref()),
            (Method::POST, None) => state.create(&target, body()),
            (Method::GET, Some(_)) => match state.object(&target) {
                Some(object) => Json(object.clone()).into_response(),
                None => failure(StatusCode::NOT_FOUND, "not found"),
            },
            (Method::PUT, Some(_)) => state.replace(&target, body()),
            (Method::PATCH, Some(_)) => state.patch(&target, &body()),
            (method, _) => failure(StatusCode::METHOD_NOT_ALLOWED, method.as_str()),
        }
    }

    fn watch(&self, collection: String, named: Option<String>, since: u64) -> Response {
        let server = self.clone();
        let events = stream::unfold(since, move |since| {
            let (server, collection, named) = (server.clone(), collection.clone(), named.clone());
            async move {
                loop {
                    let found = server
                        .locked()
                        .log
                        .iter()
                        .find(|(version, of, event)| {
                            let name = &event["object"]["metadata"]["name"];
                            *version > since
                                && *of == collection
                                && named.as_ref().is_none_or(|named| name == &**named)
                        })
                        .cloned();
                    if let Some((version, _, event)) = found {
                        let line = Bytes::from(format!("{event}\n"));
                        return Some((Ok::<_, Infallible>(line), version));
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
        Body::from_stream(events).into_response()
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn put(&mut self, collection: &str, mut object: Value) -> Value {
        self.version += 1;
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = self.version.to_string().into();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = format!(
            "{}/{}",
            text(&metadata["namespace"]),
            text(&metadata["name"])
        );
        let all = self.collections.entry(collection.to_owned()).or_default();
        let before = all
            .get(&key)
            .map(|before| before["metadata"]["uid"].clone());
        let type_ = if before.is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        object["metadata"]["uid"] =
            before.unwrap_or_else(|| format!("uid-{}", self.version).into());
        all.insert(key, object.clone());
        let event = json!({"type": type_, "object": object});
        self.log.push((self.version, collection.to_owned(), event));
        object
    }

    fn object(&self, target: &Target) -> Option<&Value> {
        self.collections.get(&target.collection)?.get(&target.key())
    }

    fn list(&self, target: &Target, named: Option<&str>) -> Response {
        let all = self.collections[&target.collection].values();
        let within = |object: &&Value| {
            let metadata = &object["metadata"];
            target
                .namespace
                .as_ref()
                .is_none_or(|namespace| metadata["namespace"] == **namespace)
                && named.is_none_or(|named| metadata["name"] == *named)
        };
        let items: Vec<_> = all.filter(within).collect();
        Json(json!({
            "kind": "List", "apiVersion": "v1",
            "metadata": {"resourceVersion": self.version.to_string()}, "items": items,
        }))
        .into_response()
    }

    fn create(&mut self, target: &Target, mut object: Value) -> Response {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let target = Target {
            name: Some(name),
            ..target.clone()
        };
        if self.object(&target).is_some() {
            return failure(StatusCode::CONFLICT, "already exists");
        }
        if let Some(namespace) = &target.namespace {
            object["metadata"]["namespace"] = namespace.as_str().into();
        }
        Json(self.put(&target.collection, object)).into_response()
    }

    fn replace(&mut self, target: &Target, object: Value) -> Response {
        let Some(current) = self.object(target) else {
            return failure(StatusCode::NOT_FOUND, "not found");
        };
        if object["metadata"]["resourceVersion"] != current["metadata"]["resourceVersion"] {
            return failure(StatusCode::CONFLICT, "the object has been modified");
        }
        Json(self.put(&target.collection, object)).into_response()
    }

    fn patch(&mut self, target: &Target, patch: &Value) -> Response {
        let Some(current) = self.object(target) else {
            return failure(StatusCode::NOT_FOUND, "not found");
        };
        let version = &patch["metadata"]["resourceVersion"];
        if !version.is_null() && *version != current["metadata"]["resourceVersion"] {
            return failure(StatusCode::CONFLICT, "the object has been modified");
        }
        let mut object = current.clone();
        for (field, value) in patch["status"].as_object().unwrap() {
            match value {
                Value::Null => {
                    if let Some(status) = object["status"].as_object_mut() {
                        status.remove(field);
                    }
                }
                value => object["status"][field] = value.clone(),
            }
        }
        Json(self.put(&target.collection, object)).into_response()
    }
}

/// What a path is of.
#[derive(Clone)]
struct Target {
    collection: String,
    namespace: Option<String>,
    name: Option<String>,
}

impl Target {
    fn parse(path: &str) -> Option<Self> {
        let mut parts = path.trim_matches('/').split('/');
        let prefix = match parts.next()? {
            "api" => format!("/api/{}", parts.next()?),
            "apis" => format!("/apis/{}/{}", parts.next()?, parts.next()?),
            _ => return None,
        };
        let rest: Vec<_> = parts.collect();
        let (namespace, rest) = match rest.as_slice() {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => {
                (Some((*namespace).to_owned()), rest)
            }
            rest => (None, rest),
        };
        Some(Self {
            collection: format!("{prefix}/{}", rest.first()?),
            namespace,
            name: rest.get(1).map(|name| (*name).to_owned()),
        })
    }

    fn key(&self) -> String {
        let namespace = self.namespace.as_deref().unwrap_or_default();
        format!("{namespace}/{}", self.name.as_deref().unwrap_or_default())
    }
}

fn failure(code: StatusCode, message: &str) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": code.canonical_reason().unwrap_or_default().replace(' ', ""),
        "code": code.as_u16(),
    });
    (code, Json(status)).into_response()
}
