//! For tests: the servers of a control plane on loopback, without a source, and a
//! dataplane that does what a test says.

mod api_server;
mod dataplane;

use std::{future::Future, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tidegate_proto::v1;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

pub(crate) use self::{
    api_server::ApiServer,
    dataplane::{FakeDataplane, FakeReporter},
};
use crate::{
    api::{self, Access, Measure, Operations, Probes},
    fleet::{Fleet, Patience, Published},
    keys::KeyStore,
    serve::{serve_dataplanes, serve_operators},
    store::AuditStore,
    telemetry::Telemetry,
    translate::Translation,
};

pub(crate) const TOKEN: &str = "let-me-in";

/// Long enough for a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Fleet, history, keys and API on loopback. The test offers the configuration.
pub(crate) struct Harness {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) store: Arc<AuditStore>,
    pub(crate) session_addr: SocketAddr,
    admin: Admin,
    stopping: watch::Sender<bool>,
    tasks: JoinSet<anyhow::Error>,
    _folder: tempfile::TempDir,
}

impl Harness {
    pub(crate) async fn start() -> Self {
        Self::with_patience(Patience::default()).await
    }

    pub(crate) async fn with_patience(patience: Patience) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(AuditStore::open(folder.path(), 1000).await.unwrap());
        let keys = Arc::new(KeyStore::open(folder.path(), 0).unwrap());
        let telemetry = Arc::new(Telemetry::new(None).unwrap());
        let instruments = telemetry.instruments();
        let fleet = Arc::new(Fleet::new(instruments.clone(), patience));
        let operations = Operations {
            fleet: Arc::clone(&fleet),
            store: Arc::clone(&store),
            keys,
            instruments: instruments.clone(),
        };
        let extra: Arc<dyn Fn() -> String + Send + Sync> = Arc::new(|| "other_plane 1\n".into());
        let probes = Arc::new(Probes {
            telemetry,
            extra: Some(extra),
            alone: false,
        });
        let measure = Measure {
            instruments,
            tracer: None,
        };
        let router = api::router(operations, &Access::new(TOKEN), probes, measure);

        let sessions = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let session_addr = sessions.local_addr().unwrap();
        let operator = Admin::new(admin.local_addr().unwrap(), TOKEN);
        let stopping = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        let (to_fleet, to_store) = (Arc::clone(&fleet), Arc::clone(&store));
        tasks.spawn(serve_dataplanes(
            sessions,
            to_fleet,
            to_store,
            None,
            stopping.subscribe(),
        ));
        tasks.spawn(serve_operators(admin, router, None, stopping.subscribe()));
        Self {
            fleet,
            store,
            session_addr,
            admin: operator,
            stopping,
            tasks,
            _folder: folder,
        }
    }

    pub(crate) fn admin(&self) -> &Admin {
        &self.admin
    }

    /// A dataplane of all Gateways.
    pub(crate) async fn dataplane(&self, id: &str) -> FakeDataplane {
        FakeDataplane::connect(self.session_addr, id).await
    }

    pub(crate) async fn shutdown(mut self) {
        self.stopping.send_replace(true);
        self.fleet.stop();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Talks to an admin API as an operator does.
pub(crate) struct Admin {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Admin {
    pub(crate) fn new(address: SocketAddr, token: &str) -> Self {
        // reqwest wants one for its TLS, which is not used here.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .unwrap();
        Self {
            http,
            base: format!("http://{address}"),
            token: token.into(),
        }
    }

    pub(crate) fn base(&self) -> String {
        self.base.clone()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.token)
    }

    pub(crate) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        answer(self.request(Method::POST, path).json(body)).await
    }
}

/// The status and the JSON of an answer.
pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    (status, response.json().await.unwrap_or(Value::Null))
}

/// Polls until something is there.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "it never came");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A configuration with a listener `default/edge/https` and these backends, each with
/// one address at the port.
pub(crate) fn configuration(version: &str, backends: &[(&str, u32)]) -> Published {
    let backend = |id: &str| v1::Backend {
        id: id.into(),
        ..Default::default()
    };
    let listener = v1::Listener {
        id: "default/edge/https".into(),
        port: 8443,
        protocol: v1::Protocol::Https.into(),
        http3: Some(v1::Http3::default()),
        ..Default::default()
    };
    let snapshot = v1::Snapshot {
        version: version.into(),
        listeners: vec![listener],
        backends: backends.iter().map(|(id, _)| backend(id)).collect(),
        ..Default::default()
    };
    let endpoints = backends.iter().map(|(id, port)| {
        let endpoints = vec![v1::Endpoint {
            address: "127.0.0.1".into(),
            port: *port,
        }];
        (
            (*id).to_owned(),
            v1::Endpoints {
                backend_id: (*id).into(),
                endpoints,
            },
        )
    });
    let translation = Translation {
        snapshots: [(String::new(), snapshot)].into(),
        endpoints: endpoints.collect(),
        ..Default::default()
    };
    Published {
        translation,
        problems: vec![],
        as_of_ms: 0,
    }
}

/// Writes a file of a folder source.
pub(crate) fn write(folder: &Path, name: &str, content: &str) {
    std::fs::write(folder.join(name), content).unwrap();
}
