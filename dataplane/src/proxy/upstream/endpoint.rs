//! The connections to one endpoint of one backend.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, uri::Scheme};
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use super::{
    connection::{Connection, Exclusive, Fresh, Multiplexed, Stream, Upgradable, write_for_http1},
    dial::{DialError, Dialer},
};
use crate::{
    metrics::HttpMetrics,
    proxy::{exchange::RequestBody, interim::Interims},
};

/// One address, with its connections that wait (HTTP/1.1) or are shared (HTTP/2).
pub(super) struct Endpoint {
    address: SocketAddr,
    dialer: Rc<Dialer>,
    /// The last one used is at the end, and is used first: so that the others can time out.
    parked: RefCell<Vec<Parked>>,
    shared: RefCell<Vec<Rc<Multiplexed>>>,
    /// Requests that arrive together must not each make an HTTP/2 connection.
    dialing: Semaphore,
    last_used: Cell<Instant>,
}

struct Parked {
    connection: Exclusive,
    since: Instant,
}

/// A request that has got its response's head.
pub(super) struct Sent {
    pub(super) response: Response<Incoming>,
    pub(super) connection: Connection,
    /// The connection was made for it.
    pub(super) dialed: bool,
}

/// Why there is no response.
pub(super) enum SendError {
    /// No connection, so nothing was sent; the request is as it was.
    Dial(DialError, Box<Request<RequestBody>>),
    Broken(hyper::Error),
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr, dialer: Rc<Dialer>) -> Self {
        Self {
            address,
            dialer,
            parked: RefCell::default(),
            shared: RefCell::default(),
            dialing: Semaphore::new(1),
            last_used: Cell::new(Instant::now()),
        }
    }

    /// Sends a request on a connection that is there, or on a new one.
    ///
    /// A connection that waited may have been closed by the other side in this moment. The
    /// request is sent again if it was not begun, or if it may be repeated (RFC 9110 9.2.2);
    /// the second time on a new connection.
    pub(super) async fn send(
        self: &Rc<Self>,
        mut request: Box<Request<RequestBody>>,
        interims: Option<&Interims>,
        metrics: &HttpMetrics,
    ) -> Result<Sent, SendError> {
        let scheme = if self.dialer.backend.tls.is_some() {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        let mut reuse = true;
        loop {
            let waiting = if reuse { self.checkout() } else { None };
            let reused = waiting.is_some();
            let connection = match waiting {
                Some(connection) => Ok((connection, false)),
                // It is rare, and large: requests that find a connection need not carry it.
                None => Box::pin(self.connect(metrics)).await,
            };
            let (mut connection, dialed) = match connection {
                Ok(connection) => connection,
                Err(error) => return Err(SendError::Dial(error, request)),
            };
            if reused {
                metrics.upstream_reuse();
            }
            let kept = if reused { Kept::of(&request) } else { None };
            if let Some(interims) = interims {
                interims.ask_for(&mut request);
            }
            match connection.send(*request, &scheme).await {
                Ok(response) => {
                    return Ok(Sent {
                        response,
                        connection,
                        dialed,
                    });
                }
                Err(mut error) => {
                    let unsent = error.take_message().filter(|_| reused);
                    // What was not begun can go to any connection, what was to a new one only.
                    reuse = unsent.is_some();
                    let Some(next) = unsent.map(Box::new).or_else(|| kept.map(Kept::again)) else {
                        let error = error.into_error();
                        metrics.upstream_error(kind(&error));
                        return Err(SendError::Broken(error));
                    };
                    metrics.upstream_error("stale");
                    request = next;
                }
            }
        }
    }

    /// Sends a request that asks for another protocol, on a connection of its own.
    pub(super) async fn send_for_upgrade(
        self: &Rc<Self>,
        mut request: Box<Request<RequestBody>>,
        metrics: &HttpMetrics,
    ) -> Result<(Response<Incoming>, Upgradable), SendError> {
        let dialed = self.dialer.dial_for_upgrade(self.address).await;
        metrics.upstream_connect(dialed.is_ok());
        let mut connection = match dialed {
            Ok(connection) => connection,
            Err(error) => {
                metrics.upstream_error(error.kind());
                return Err(SendError::Dial(error, request));
            }
        };
        write_for_http1(&mut request);
        match connection.sender.send_request(*request).await {
            Ok(response) => Ok((response, connection)),
            Err(error) => {
                metrics.upstream_error(kind(&error));
                Err(SendError::Broken(error))
            }
        }
    }

    /// A connection that can take a request now.
    fn checkout(&self) -> Option<Connection> {
        let now = Instant::now();
        self.last_used.set(now);
        let mut parked = self.parked.borrow_mut();
        while let Some(Parked { connection, since }) = parked.pop() {
            let waited = now.saturating_duration_since(since);
            if waited < IDLE_TIMEOUT && connection.sender.is_ready() {
                return Some(Connection::Exclusive(connection));
            }
        }
        drop(parked);
        let mut shared = self.shared.borrow_mut();
        shared.retain(|connection| !connection.sender.is_closed());
        shared
            .iter()
            .filter(|connection| connection.has_room())
            .min_by_key(|connection| connection.streams.get())
            .map(|connection| Connection::Shared(Stream::open(connection.clone())))
    }

    /// A new connection, or one that another request made meanwhile; says which.
    async fn connect(&self, metrics: &HttpMetrics) -> Result<(Connection, bool), DialError> {
        if !self.dialer.may_multiplex() {
            return self
                .dial(metrics)
                .await
                .map(|connection| (connection, true));
        }
        let waiting = tokio::time::timeout(
            self.dialer.backend.connect_timeout,
            // It is never closed.
            self.dialing.acquire(),
        );
        let _turn = waiting.await.map_err(|_| DialError::Timeout)?;
        match self.checkout() {
            Some(connection) => Ok((connection, false)),
            None => self
                .dial(metrics)
                .await
                .map(|connection| (connection, true)),
        }
    }

    async fn dial(&self, metrics: &HttpMetrics) -> Result<Connection, DialError> {
        let dialed = self.dialer.dial(self.address).await;
        metrics.upstream_connect(dialed.is_ok());
        match dialed {
            Ok(Fresh::Http1(sender, task)) => Ok(Connection::Exclusive(Exclusive {
                sender,
                _task: task,
            })),
            Ok(Fresh::Http2(sender, allowed)) => {
                let connection = Rc::new(Multiplexed {
                    sender,
                    allowed,
                    streams: Cell::new(0),
                    idle_since: Cell::new(Instant::now()),
                });
                self.shared.borrow_mut().push(connection.clone());
                Ok(Connection::Shared(Stream::open(connection)))
            }
            Err(error) => {
                metrics.upstream_error(error.kind());
                Err(error)
            }
        }
    }

    /// Keeps a connection for the next request.
    pub(super) fn park(&self, connection: Exclusive) {
        let mut parked = self.parked.borrow_mut();
        if parked.len() < MOST_PARKED {
            parked.push(Parked {
                connection,
                since: Instant::now(),
            });
        }
    }

    /// Closes what waited too long. `false`: nothing is left, and nobody came lately.
    pub(super) fn reap(&self, now: Instant) -> bool {
        let idle = |since: Instant| now.saturating_duration_since(since) >= IDLE_TIMEOUT;
        let mut parked = self.parked.borrow_mut();
        parked.retain(|parked| !idle(parked.since) && parked.connection.sender.is_ready());
        let mut shared = self.shared.borrow_mut();
        shared.retain(|connection| {
            let unused = connection.streams.get() == 0 && idle(connection.idle_since.get());
            !unused && !connection.sender.is_closed()
        });
        !parked.is_empty() || !shared.is_empty() || !idle(self.last_used.get())
    }
}

impl Multiplexed {
    fn has_room(&self) -> bool {
        self.sender.is_ready() && self.streams.get() < self.allowed.get().min(MOST_STREAMS)
    }
}

/// What makes the request again if the connection turns out to be closed. Nearly always it
/// does not, so this is no more than it takes.
struct Kept {
    method: Method,
    uri: Uri,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Kept {
    /// Of requests that have the same effect once or twice, and no content that would be gone.
    fn of(request: &Request<RequestBody>) -> Option<Self> {
        let idempotent = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
        );
        if !idempotent || !http_body::Body::is_end_stream(request.body()) {
            return None;
        }
        let fields = request.headers().iter();
        Some(Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            fields: fields
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        })
    }

    fn again(self) -> Box<Request<RequestBody>> {
        let mut request = Box::new(Request::new(RequestBody::empty()));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        request.headers_mut().extend(self.fields);
        request
    }
}

fn kind(error: &hyper::Error) -> &'static str {
    if error.is_timeout() {
        "timeout"
    } else if error.is_parse() || error.is_parse_status() {
        "protocol"
    } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        "reset"
    } else {
        "other"
    }
}

/// Shorter than what servers usually allow (60 s and more), so that closing is mostly ours.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// Connections of one shard that wait at one endpoint.
const MOST_PARKED: usize = 512;
/// Streams on one connection before another one is made.
const MOST_STREAMS: usize = 256;
