//! A shard that serves on loopback, and upstreams for it: well-behaved and other ones.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tidegate_proto::v1;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot, watch},
};

use crate::{
    audit,
    metrics::ShardMetrics,
    shard::{self, Applied, ShardCommand, ShardHandle, Surroundings},
    snapshot::{Configuration, Endpoints, Snapshot, fixture},
    telemetry::Telemetry,
};

/// Longer than anything takes that works.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const LISTENER: &str = "default/edge/http";

/// A running shard.
pub(super) struct Gateway {
    pub(super) address: SocketAddr,
    pub(super) spool: audit::Spool,
    shard: ShardHandle,
    _configuration: watch::Sender<Option<Arc<Configuration>>>,
    _applied: mpsc::Receiver<Applied>,
}

/// Rules in order, each with the addresses of its one backend.
pub(super) type Rules = Vec<(v1::Rule, Vec<SocketAddr>)>;

impl Gateway {
    /// Serves HTTP in the clear with these rules.
    pub(super) async fn start(rules: Rules) -> Self {
        Self::start_with(fixture::http(LISTENER, 0, ""), rules).await
    }

    pub(super) async fn start_with(listener: v1::Listener, rules: Rules) -> Self {
        Self::start_all(vec![listener], rules, None).await
    }

    /// The listeners share a free port of loopback. With a `ca`, backends speak TLS under
    /// the name `upstream.example`.
    pub(super) async fn start_all(
        listeners: Vec<v1::Listener>,
        rules: Rules,
        ca: Option<Vec<u8>>,
    ) -> Self {
        Self::start_changed(listeners, rules, ca, |_| {}).await
    }

    /// The same, with a snapshot that `change` has a last word about.
    pub(super) async fn start_changed(
        mut listeners: Vec<v1::Listener>,
        rules: Rules,
        ca: Option<Vec<u8>>,
        change: impl FnOnce(&mut v1::Snapshot),
    ) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let mut endpoints = Endpoints::default();
        let mut wire = v1::Snapshot {
            routes: Vec::new(),
            backends: Vec::new(),
            ..fixture::snapshot()
        };
        let mut routed = Vec::new();
        for (rule, addresses) in rules {
            let named = rule
                .backends
                .iter()
                .filter(|backend| !backend.backend_id.is_empty());
            for backend in named {
                wire.backends
                    .push(backend_of(&backend.backend_id, ca.as_deref()));
                endpoints = endpoints.with(endpoints_of(&backend.backend_id, &addresses));
            }
            routed.push(rule);
        }
        for listener in &mut listeners {
            listener.addresses = vec![address.ip().to_string()];
            listener.port = address.port().into();
            let id = format!("HTTPRoute/default/{}", listener.hostname);
            wire.routes
                .push(fixture::route(&id, &listener.id, routed.clone()));
        }
        wire.listeners = listeners;
        change(&mut wire);
        let snapshot = Snapshot::try_from(wire).expect("a good snapshot");
        let configuration = Configuration {
            snapshot: Arc::new(snapshot),
            endpoints: Arc::new(endpoints),
        };
        Self::run(address, configuration).await
    }

    async fn run(address: SocketAddr, configuration: Configuration) -> Self {
        let (configured, configuration) = watch::channel(Some(Arc::new(configuration)));
        let (applied, mut results) = mpsc::channel(8);
        let (records, spool) = audit::channel(1024);
        let surroundings = Surroundings {
            dataplane: "test".into(),
            configuration,
            peers: watch::channel(Arc::default()).1,
            applied,
            records,
            telemetry: Arc::new(Telemetry::default()),
            early_data: Arc::default(),
            packets_per_key: crate::quic::CONFIDENTIALITY_LIMIT,
        };
        // What is there from the start counts as a change.
        configured.send_modify(|_| {});
        let shards = shard::spawn_all(
            &surroundings,
            &[Arc::new(ShardMetrics::default())],
            Vec::new(),
        );
        let shard = shards.expect("a thread").pop().expect("one shard");
        let outcome = results.recv().await.expect("an outcome");
        assert!(outcome.rejections.is_empty(), "{:?}", outcome.rejections);
        Self {
            address,
            spool,
            shard,
            _configuration: configured,
            _applied: results,
        }
    }

    /// Sends a command and waits for the reply.
    pub(super) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> ShardCommand,
    ) -> T {
        let (reply, answer) = oneshot::channel();
        self.shard
            .commands
            .send(command(reply))
            .await
            .expect("the shard runs");
        answer.await.expect("a reply")
    }

    /// Live connections.
    pub(super) async fn connections(&self) -> Vec<v1::Connection> {
        let selector = v1::Selector::default();
        let list = |reply| ShardCommand::List {
            selector,
            after: None,
            limit: 100,
            reply,
        };
        self.ask(list).await.expect("a valid selector")
    }

    /// Records of ended connections, once there are so many.
    pub(super) async fn closed(&mut self, count: usize) -> Vec<v1::Connection> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            self.spool.collect();
            let records = self.spool.after(0, 1024).into_iter();
            let closed: Vec<_> = records
                .flat_map(|(records, _)| records)
                .filter_map(|record| match v1::Record::decode(record).unwrap().kind {
                    Some(v1::record::Kind::Closed(connection)) => Some(connection),
                    _ => None,
                })
                .collect();
            if closed.len() >= count {
                return closed;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "only {} records",
                closed.len()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends `text` on a connection of its own and returns all that comes back.
    pub(super) async fn raw(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(self.address)
            .await
            .expect("a connection");
        stream
            .write_all(text.as_bytes())
            .await
            .expect("the request is sent");
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer));
        // A reset after the answer is as good as an end.
        let _ = read.await.expect("an answer in time");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Status and whole answer to a GET, on a connection of its own.
    pub(super) async fn get(&self, path: &str, fields: &str) -> (u16, String) {
        let answer = self
            .raw(&format!(
                "GET {path} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n{fields}\r\n"
            ))
            .await;
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        (status.unwrap_or_default(), answer)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.shard.commands.try_send(ShardCommand::Stop);
    }
}

/// What the name says of the protocol is so.
fn backend_of(id: &str, ca: Option<&[u8]>) -> v1::Backend {
    let protocol = match id {
        id if id.contains("h2") => v1::BackendProtocol::Http2,
        id if id.contains("auto") => v1::BackendProtocol::Unspecified,
        _ => v1::BackendProtocol::Http1,
    };
    v1::Backend {
        id: id.into(),
        protocol: protocol.into(),
        tls: ca.map(|ca| v1::BackendTls {
            server_name: "upstream.example".into(),
            ca_pem: ca.to_vec().into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn endpoints_of(id: &str, addresses: &[SocketAddr]) -> v1::Endpoints {
    let endpoint = |address: &SocketAddr| v1::Endpoint {
        address: address.ip().to_string(),
        port: address.port().into(),
    };
    v1::Endpoints {
        backend_id: id.into(),
        endpoints: addresses.iter().map(endpoint).collect(),
    }
}

/// A rule for everything below a prefix.
pub(super) fn under(prefix: &str, backend: &str) -> v1::Rule {
    let path = v1::path_match::Kind::Prefix(prefix.into());
    let path = v1::PathMatch { kind: Some(path) };
    v1::Rule {
        matches: vec![v1::Match {
            path: Some(path),
            ..Default::default()
        }],
        ..fixture::rule(backend)
    }
}

/// An upstream of hyper's, HTTP/1.1 or HTTP/2, that answers with the request as it got it:
/// request line, fields, an empty line, content, and `trailer: name: value` lines.
pub(super) async fn echo(multiplex: bool) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let io = TokioIo::new(stream);
            let service = hyper::service::service_fn(echo_one);
            if multiplex {
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(builder.serve_connection(io, service));
            } else {
                let builder = hyper::server::conn::http1::Builder::new();
                tokio::spawn(builder.serve_connection(io, service));
            }
        }
    });
    address
}

type Echoed = Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error>;

pub(super) async fn echo_one(request: Request<Incoming>) -> Echoed {
    use std::fmt::Write as _;
    let (head, body) = request.into_parts();
    let mut text = format!("{} {} {:?}\n", head.method, head.uri, head.version);
    let line = |text: &mut String, what: &str, fields: &HeaderMap| {
        for (name, value) in fields {
            let _ = writeln!(text, "{what}{name}: {}", value.to_str().unwrap_or("?"));
        }
    };
    line(&mut text, "", &head.headers);
    let body = body.collect().await?;
    let trailers = body.trailers().cloned();
    let content = body.to_bytes();
    let _ = write!(text, "\n{}", String::from_utf8_lossy(&content));
    if let Some(trailers) = &trailers {
        text.push('\n');
        line(&mut text, "trailer: ", trailers);
    }
    let mut response = Response::new(());
    response
        .headers_mut()
        .insert("x-upstream", "echo".parse().expect("a value"));
    response
        .headers_mut()
        .insert("keep-alive", "timeout=5".parse().expect("a value"));
    *response.status_mut() = StatusCode::OK;
    Ok(match trailers {
        None => response.map(|()| Full::from(text).boxed()),
        Some(trailers) => {
            let frames = [
                Ok(Frame::data(Bytes::from(text))),
                Ok(Frame::trailers(trailers)),
            ];
            response.map(|()| BodyExt::boxed(StreamBody::new(tokio_stream::iter(frames))))
        }
    })
}

/// An upstream that reads a request's head, says `text`, and then does what `afterwards`
/// makes of the connection.
pub(super) async fn script<F>(
    text: &'static str,
    afterwards: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let mut read = Vec::new();
            while !read.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                match stream.read_buf(&mut read).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
            let _ = stream.write_all(text.as_bytes()).await;
            tokio::spawn(afterwards(stream));
        }
    });
    address
}

/// An upstream whose response has no end, and word of when it could not go on.
pub(super) async fn endless() -> (SocketAddr, mpsc::Receiver<()>) {
    let (told, ended) = mpsc::channel(1);
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let upstream = script(head, move |mut stream| {
        let told = told.clone();
        async move {
            let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
            while stream.write_all(chunk.as_bytes()).await.is_ok() {}
            let _ = told.send(()).await;
        }
    });
    (upstream.await, ended)
}
