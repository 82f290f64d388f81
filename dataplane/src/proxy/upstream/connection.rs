//! An upstream connection in use, and what becomes of it afterwards.

use std::{cell::Cell, rc::Rc, time::Instant};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, Uri, Version, header,
    uri::{Authority, Scheme},
};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use tokio::{
    sync::oneshot,
    task::{AbortHandle, JoinHandle},
};

use super::endpoint::Endpoint;
use crate::{
    balance::InFlight,
    proxy::{exchange::RequestBody, tunnel::Wired},
};

/// Ends a connection's task when it is dropped, and with it the connection.
pub(super) struct Task(AbortHandle);

impl Task {
    pub(super) fn new(task: &JoinHandle<()>) -> Self {
        Self(task.abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection that was just made.
pub(super) enum Fresh {
    Http1(http1::SendRequest<RequestBody>, Task),
    /// With the number of streams that the upstream allows at this time.
    Http2(http2::SendRequest<RequestBody>, Rc<Cell<usize>>),
}

/// A connection that was just made, for one request that asks for another protocol.
pub(super) struct Upgradable {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pub(super) task: Task,
    /// Comes when HTTP has ended on it: what was read too much, and the connection.
    pub(super) rest: oneshot::Receiver<(Bytes, Box<dyn Wired>)>,
}

/// A connection on loan to one request. Dropped, it is torn down: an HTTP/1.1 connection
/// is closed, because nobody knows what is still to come on it; of an HTTP/2 connection
/// it is only the stream, which hyper resets.
pub(super) enum Connection {
    Exclusive(Exclusive),
    Shared(Stream),
}

/// HTTP/1.1: one request at a time.
pub(super) struct Exclusive {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pub(super) _task: Task,
}

/// HTTP/2: any number of streams.
pub(super) struct Multiplexed {
    pub(super) sender: http2::SendRequest<RequestBody>,
    pub(super) allowed: Rc<Cell<usize>>,
    pub(super) streams: Cell<usize>,
    pub(super) idle_since: Cell<Instant>,
}

/// One of the streams of an HTTP/2 connection.
pub(super) struct Stream(Rc<Multiplexed>);

impl Stream {
    pub(super) fn open(connection: Rc<Multiplexed>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Self(connection)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.idle_since.set(Instant::now());
    }
}

impl Connection {
    /// Sends a request and waits for the head of the response. `scheme` is that of the
    /// connection.
    pub(super) async fn send(
        &mut self,
        mut request: Request<RequestBody>,
        scheme: &Scheme,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match self {
            Self::Exclusive(connection) => {
                write_for_http1(&mut request);
                connection.sender.try_send_request(request).await
            }
            Self::Shared(stream) => {
                write_for_http2(&mut request, scheme);
                stream.0.sender.clone().try_send_request(request).await
            }
        }
    }
}

/// A request whose target is a path, and whose authority is in Host.
pub(crate) fn write_for_http1<B>(request: &mut Request<B>) {
    *request.version_mut() = Version::HTTP_11;
    if let Some(authority) = request.uri().authority() {
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            request.headers_mut().insert(header::HOST, host);
        }
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
    }
    // RFC 9110 7.6.1: they go no further than this connection.
    let headers = request.headers_mut();
    let named = match (
        headers.contains_key(header::UPGRADE),
        headers.contains_key(header::TE),
    ) {
        (false, false) => return,
        (false, true) => "te",
        (true, false) => "upgrade",
        (true, true) => "upgrade, te",
    };
    headers.insert(header::CONNECTION, HeaderValue::from_static(named));
}

/// A request with pseudo-header fields: hyper makes them of the URI.
fn write_for_http2(request: &mut Request<RequestBody>, scheme: &Scheme) {
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().remove(header::CONNECTION);
    request.headers_mut().remove(header::UPGRADE);
    let Some(host) = request.headers_mut().remove(header::HOST) else {
        return;
    };
    // An authority was checked on the way in, and so was one from a filter.
    let Ok(authority) = Authority::try_from(host.as_bytes()) else {
        return;
    };
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(scheme.clone());
    parts.authority = Some(authority);
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

/// Holds the connection of a response that is under way.
pub(crate) struct Lease {
    connection: Connection,
    endpoint: Rc<Endpoint>,
    _in_flight: InFlight,
}

impl Lease {
    pub(super) fn new(connection: Connection, endpoint: Rc<Endpoint>, in_flight: InFlight) -> Self {
        Self {
            connection,
            endpoint,
            _in_flight: in_flight,
        }
    }

    /// Request and response ended well: the next request may have the connection.
    pub(crate) fn release(self) {
        if let Connection::Exclusive(connection) = self.connection
            // Not so after `Connection: close`, or when more came than was expected.
            && connection.sender.is_ready()
        {
            self.endpoint.park(connection);
        }
    }

    /// Something is still to come, or never will.
    pub(crate) fn discard(self) {
        drop(self);
    }
}
