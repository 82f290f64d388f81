//! Upstreams: HTTP servers of another stack (hyper) that record what reached them.
//!
//! What a request gets is chosen by its path:
//!
//! | path | answer |
//! |---|---|
//! | `/bytes/N` | the first N bytes of [`Payload`](crate::Payload) |
//! | `/mirror` | the request's body as it comes, its trailers, and `grpc-status: 0` as a trailer |
//! | `/endless` | a body without end, counted in [`Upstream::produced`] |
//! | `/gate/NAME` | 200 once the test opens the gate |
//! | `/never` | nothing |
//! | `/status/N` | status N, empty |
//! | all else | the request itself, described in JSON, after its body was read |

use std::{
    collections::HashSet,
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderMap, Version};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use crate::authority::Identity;

mod answer;
mod raw;
mod recorder;

pub use raw::{RawUpstream, Reply};

/// A running upstream; dropped, it and its connections are gone.
pub struct Upstream {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// A request as the upstream saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub version: Version,
    pub headers: HeaderMap,
    /// What `Host` or `:authority` said.
    pub authority: String,
    /// Index of the TCP connection.
    pub connection: u64,
    /// Absent while the body is on its way, or when the upstream did not read it.
    pub body: Option<SeenBody>,
}

#[derive(Clone, Debug, Default)]
pub struct SeenBody {
    pub length: u64,
    pub sha256: String,
    pub trailers: HeaderMap,
    /// The body ended by an error rather than by its end.
    pub broken: bool,
}

struct Shared {
    name: String,
    /// Whether what reaches it is kept.
    records: bool,
    seen: Mutex<Vec<Seen>>,
    raw: Mutex<Vec<recorder::Tape>>,
    connections: AtomicU64,
    active: AtomicU64,
    cancelled: AtomicU64,
    produced: AtomicU64,
    gates: watch::Sender<HashSet<String>>,
}

impl Upstream {
    /// Cleartext HTTP/1.1, and HTTP/2 by prior knowledge.
    pub async fn start() -> Self {
        Self::named("upstream").await
    }

    /// Keeps nothing of what reached it, so that it can serve for hours.
    pub async fn forgetful() -> Self {
        Self::serve_as("upstream", None, false).await
    }

    /// Its answers name it in `x-upstream`.
    pub async fn named(name: &str) -> Self {
        Self::serve(name, None).await
    }

    /// The same over TLS, with ALPN.
    pub async fn tls(name: &str, identity: &Identity) -> Self {
        Self::serve(name, Some(identity.server(&["h2", "http/1.1"]).into())).await
    }

    async fn serve(name: &str, tls: Option<TlsAcceptor>) -> Self {
        Self::serve_as(name, tls, true).await
    }

    async fn serve_as(name: &str, tls: Option<TlsAcceptor>, records: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("loopback binds");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            records,
            seen: Mutex::default(),
            raw: Mutex::default(),
            connections: AtomicU64::new(0),
            active: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            produced: AtomicU64::new(0),
            gates: watch::Sender::new(HashSet::new()),
        });
        let task = tokio::spawn(accept(listener, tls, shared.clone()));
        Self {
            address,
            shared,
            task,
        }
    }

    /// Requests in order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no panic holds it").clone()
    }

    /// Requests whose path is this.
    pub fn seen_at(&self, path: &str) -> Vec<Seen> {
        let at = |seen: &Seen| seen.target.split('?').next() == Some(path);
        self.seen().into_iter().filter(at).collect()
    }

    /// Bytes that came over each TCP connection, in the clear.
    pub fn raw(&self) -> Vec<Vec<u8>> {
        let tapes = self.shared.raw.lock().expect("no panic holds it");
        tapes
            .iter()
            .map(|tape| tape.lock().expect("no panic holds it").clone())
            .collect()
    }

    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Requests that are being answered.
    pub fn active(&self) -> u64 {
        self.shared.active.load(Ordering::SeqCst)
    }

    /// Requests whose answer was dropped before its end.
    pub fn cancelled(&self) -> u64 {
        self.shared.cancelled.load(Ordering::SeqCst)
    }

    /// Bytes that `/endless` handed to its connection.
    pub fn produced(&self) -> u64 {
        self.shared.produced.load(Ordering::SeqCst)
    }

    /// Lets every request at `/gate/NAME` go, now and later.
    pub fn open(&self, gate: &str) {
        self.shared.gates.send_modify(|open| {
            open.insert(gate.to_owned());
        });
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, shared) = (tls.clone(), shared.clone());
        connections.spawn(async move {
            let _ = stream.set_nodelay(true);
            match tls {
                None => speak(stream, shared).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        speak(stream, shared).await;
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, shared: Arc<Shared>) {
    let tape = recorder::Tape::default();
    if shared.records {
        let mut raw = shared.raw.lock().expect("no panic holds it");
        raw.push(tape.clone());
    }
    let index = shared.connections.fetch_add(1, Ordering::SeqCst);
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer::answer(request, shared, index).await) }
    });
    let io = TokioIo::new(recorder::Recorder::new(stream, tape));
    // The error is the client's business: it went away, or sent what HTTP forbids.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(io, service)
        .await;
}
