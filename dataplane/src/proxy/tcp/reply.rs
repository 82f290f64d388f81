//! Responses that are on their way out of a TCP connection.
//!
//! Hyper pulls content when the client's window has room. A client that never gives room
//! would keep an HTTP/2 stream, and what is behind it, for ever: [`Streams`] notices.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use slab::Slab;
use tokio::task::AbortHandle;

use super::live::Active;
use crate::proxy::{Body, BodyError};

/// The content of a response, as hyper's server pulls it.
pub(super) struct Reply {
    body: Body,
    handed: Handed,
    _active: Active,
}

impl Reply {
    pub(super) fn new(body: Body, active: Active, streams: &Streams) -> Self {
        Self {
            body,
            handed: streams.enter(),
            _active: active,
        }
    }
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.handed.set(frame.is_ready());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The streams of an HTTP/2 connection: runs their tasks, and knows which of them wait for
/// the client. HTTP/1.1 has none; there the socket's write time-out does it.
#[derive(Clone, Default)]
pub(super) struct Streams {
    tasks: Rc<RefCell<HashMap<tokio::task::Id, AbortHandle>>>,
    waiting: Rc<RefCell<Slab<Waiting>>>,
}

struct Waiting {
    task: Option<tokio::task::Id>,
    /// When the last frame was handed to hyper that it did not come back for.
    since: Rc<Cell<Option<Instant>>>,
}

/// A response's entry among the waiting ones, until it is dropped.
struct Handed {
    waiting: Rc<RefCell<Slab<Waiting>>>,
    key: usize,
    since: Rc<Cell<Option<Instant>>>,
}

impl Streams {
    fn enter(&self) -> Handed {
        let since = Rc::new(Cell::new(None));
        let task = tokio::task::try_id();
        let key = self.waiting.borrow_mut().insert(Waiting {
            task,
            since: since.clone(),
        });
        Handed {
            waiting: self.waiting.clone(),
            key,
            since,
        }
    }

    /// Resets the streams whose clients took nothing for this long. Returns when to look
    /// again.
    pub(super) fn reset_stalled(&self, now: Instant, limit: Duration) -> Instant {
        let is_stalled = |waiting: &Waiting| {
            waiting
                .since
                .get()
                .is_some_and(|since| now.saturating_duration_since(since) >= limit)
        };
        let stalled: Vec<_> = {
            let waiting = self.waiting.borrow();
            let stalled = waiting.iter().filter(|(_, waiting)| is_stalled(waiting));
            stalled.filter_map(|(_, waiting)| waiting.task).collect()
        };
        for task in stalled {
            // Dropping the stream is what makes hyper reset it.
            if let Some(task) = self.tasks.borrow_mut().remove(&task) {
                task.abort();
            }
        }
        now + (limit / 4).max(SHORTEST_LOOK)
    }

    /// The connection is gone, and nobody waits for any response.
    pub(super) fn abort(&self) {
        for (_, task) in self.tasks.borrow_mut().drain() {
            task.abort();
        }
    }
}

impl Handed {
    fn set(&self, handed: bool) {
        self.since.set(handed.then(Instant::now));
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        self.waiting.borrow_mut().remove(self.key);
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + 'static,
{
    fn execute(&self, stream: F) {
        let tasks = self.tasks.clone();
        let task = tokio::task::spawn_local(async move {
            stream.await;
            tasks.borrow_mut().remove(&tokio::task::id());
        });
        self.tasks
            .borrow_mut()
            .insert(task.id(), task.abort_handle());
    }
}

const SHORTEST_LOOK: Duration = Duration::from_millis(50);
