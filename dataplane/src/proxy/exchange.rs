//! One request on its way through the gateway: what both directions must know of each other.
//!
//! Owns the two body types that hyper pulls, the request's towards the upstream and the
//! response's towards the client, and the ledger that both write in. Content is counted
//! here, compared with Content-Length and timed; when one direction ends, the other
//! learns of it here. Never chooses where a request goes: that is [`serve`](super::serve).

mod replay;
mod request;
mod response;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::{Method, StatusCode, Version};
use tokio::time::Instant;

use self::request::Upload;
pub(crate) use self::{replay::Tap, request::RequestBody, response::ResponseBody};
use super::{body::Body, failure::Failure};
use crate::{
    metrics::{RequestEnd, ShardMetrics},
    snapshot::HttpLimits,
    telemetry::RequestTrace,
};

/// The ledger of one request. Dropped, it reports the request as over, so that each one
/// is reported exactly once, cancelled ones included.
pub(crate) struct Exchange {
    metrics: Arc<ShardMetrics>,
    trace: RefCell<RequestTrace>,
    started: Instant,
    method: Method,
    version: Version,
    scheme: &'static str,
    route: RefCell<Option<Arc<str>>>,
    status: Cell<Option<StatusCode>>,
    error: Cell<Option<&'static str>>,
    reported: Cell<bool>,
    request_bytes: Cell<u64>,
    response_bytes: Cell<u64>,
    idle_timeout: Cell<Duration>,
    /// When the rule's request time-out passes.
    deadline: Cell<Option<Instant>>,
    upload: RefCell<Upload>,
}

impl Exchange {
    /// A request whose head was just read.
    pub(crate) fn begin(
        metrics: Arc<ShardMetrics>,
        trace: RequestTrace,
        method: Method,
        version: Version,
        scheme: &'static str,
    ) -> Rc<Self> {
        metrics.http.request_started(version);
        Rc::new(Self {
            metrics,
            trace: RefCell::new(trace),
            started: Instant::now(),
            method,
            version,
            scheme,
            route: RefCell::default(),
            status: Cell::default(),
            error: Cell::default(),
            reported: Cell::default(),
            request_bytes: Cell::default(),
            response_bytes: Cell::default(),
            idle_timeout: Cell::new(DEFAULT_IDLE_TIMEOUT),
            deadline: Cell::default(),
            upload: RefCell::default(),
        })
    }

    /// The route that serves it is known.
    pub(crate) fn routed(&self, route: &Arc<str>, request_timeout: Option<Duration>) {
        self.trace.borrow_mut().routed(route);
        self.route.replace(Some(route.clone()));
        self.deadline
            .set(request_timeout.map(|timeout| self.started + timeout));
    }

    /// Makes the body that the upstream is sent. `content_length` is what the client announced.
    pub(crate) fn request_body(
        self: &Rc<Self>,
        body: Body,
        content_length: Option<u64>,
        limits: &HttpLimits,
    ) -> RequestBody {
        self.idle_timeout.set(limits.body_idle_timeout);
        let mut upload = self.upload.borrow_mut();
        upload.begin(body, content_length, limits);
        drop(upload);
        RequestBody::new(self.clone())
    }

    /// Keeps what is sent of the request's body, as far as that is not too much.
    pub(crate) fn keep_upload(&self) {
        self.upload.borrow_mut().record();
    }

    /// The request's body once more, for another attempt. `None` if it cannot be had.
    pub(crate) fn repeat_upload(self: &Rc<Self>) -> Option<RequestBody> {
        let mut upload = self.upload.borrow_mut();
        if !upload.is_repeatable() {
            return None;
        }
        upload.rewind();
        drop(upload);
        Some(RequestBody::new(self.clone()))
    }

    /// Whether it can be had.
    pub(crate) fn upload_is_repeatable(&self) -> bool {
        self.upload.borrow().is_repeatable()
    }

    /// When the request must be over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline.get()
    }

    /// Lets the client's context go on with the request.
    pub(crate) fn inject_trace(&self, headers: &mut http::HeaderMap) {
        self.trace.borrow().inject(headers);
    }

    /// What was wrong with the request's body, if that is why the upstream failed.
    pub(crate) fn upload_failure(&self) -> Option<Failure> {
        self.upload.borrow().failure()
    }

    /// Whether the request's body went upstream to its end.
    pub(crate) fn upload_is_done(&self) -> bool {
        self.upload.borrow().is_sent()
    }

    /// Nobody wants more of the request's body. Its sender is told by dropping it.
    pub(crate) fn cancel_upload(&self) {
        self.upload.borrow_mut().cancel();
    }

    /// The status that the client is sent.
    pub(crate) fn answered(&self, status: StatusCode) {
        self.status.set(Some(status));
    }

    /// The gateway answers itself.
    pub(crate) fn failed(&self, failure: Failure) {
        self.answered(failure.status());
        self.error.set(Some(failure.label()));
    }

    /// Bytes that the client sent.
    pub(crate) fn count_request(&self, bytes: u64) {
        self.request_bytes.set(self.request_bytes.get() + bytes);
    }

    /// Bytes that the client was sent.
    pub(crate) fn count_response(&self, bytes: u64) {
        self.response_bytes.set(self.response_bytes.get() + bytes);
    }

    /// The response is over: well, or with an error.
    pub(crate) fn over(&self, error: Option<&'static str>) {
        if error.is_some() {
            self.error.set(error);
        }
        self.cancel_upload();
        self.report();
    }

    fn report(&self) {
        if self.reported.replace(true) {
            return;
        }
        // Dropped without an answer: the client did not wait for one.
        let status = self.status.get();
        let error = self
            .error
            .get()
            .or(status.is_none().then_some(Failure::ClientGone.label()));
        let route = self.route.borrow();
        self.metrics.http.request_finished(&RequestEnd {
            method: &self.method,
            status: status.unwrap_or(CLIENT_CLOSED_REQUEST),
            version: self.version,
            scheme: self.scheme,
            route: route.as_deref(),
            duration: self.started.elapsed(),
            request_bytes: self.request_bytes.get(),
            response_bytes: self.response_bytes.get(),
            error,
        });
        if let Some(status) = status {
            self.trace.borrow_mut().finish(status);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.report();
    }
}

/// Until the listener is known, nothing is read from a body.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// What logs and metrics show for a client that did not wait.
const CLIENT_CLOSED_REQUEST: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

#[cfg(test)]
mod tests;
