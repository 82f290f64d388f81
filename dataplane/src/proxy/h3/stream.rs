//! One request stream: what lies between quiche and the task that serves the request.
//!
//! Both run on the same thread and meet in a [`Cell`](Shared): the task takes the
//! request's body out and puts the response in, one piece at a time.

mod download;
mod upload;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use http::Request;
use quiche::h3;
use tokio::task::{AbortHandle, spawn_local};

use self::{download::Download, upload::Upload};
use super::{early, head, respond::respond};
use crate::{
    proxy::{Body, Origin},
    quic::QuicheConnection,
};

/// Streams of a connection whose tasks have something to say.
#[derive(Default)]
pub(super) struct Ready {
    ids: RefCell<VecDeque<u64>>,
    rung: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Ready {
    /// One of them. A turn goes on until there is none.
    pub(super) fn next(&self) -> Option<u64> {
        self.rung.set(false);
        self.ids.borrow_mut().pop_front()
    }

    /// Gives back what the empty queue keeps.
    pub(super) fn shrink_to_fit(&self) {
        self.ids.borrow_mut().shrink_to_fit();
    }

    /// Begins a turn, whether or not a stream is ready.
    pub(super) fn ring(&self) {
        self.rung.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Resolves when there is something to take. Cancel-safe: it takes nothing itself.
    pub(super) async fn wait(&self) {
        poll_fn(|cx| {
            if self.rung.get() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// What the connection and the request's task share.
pub(super) struct Shared {
    id: u64,
    ready: Rc<Ready>,
    marked: Cell<bool>,
    upload: RefCell<Upload>,
    download: RefCell<Download>,
}

impl Shared {
    /// Has the connection look at this stream in its next turn.
    fn mark(&self) {
        if !self.marked.replace(true) {
            self.ready.ids.borrow_mut().push_back(self.id);
            self.ready.ring();
        }
    }
}

/// The connection's side of a request stream. Dropping it cancels the request.
pub(super) struct Stream {
    shared: Rc<Shared>,
    /// quiche has bytes of the body.
    readable: bool,
    task: Option<AbortHandle>,
    /// It came in early data, and waits.
    held: Option<(Rc<Origin>, Box<Request<Body>>)>,
}

impl Stream {
    /// A stream, and the body of its request.
    pub(super) fn new(id: u64, ready: Rc<Ready>, more_frames: bool) -> (Self, Body) {
        let shared = Rc::new(Shared {
            id,
            ready,
            marked: Cell::new(false),
            upload: RefCell::new(Upload::new(!more_frames)),
            download: RefCell::default(),
        });
        let body = match more_frames {
            true => Body::Boxed(Box::pin(upload::RequestBody::new(shared.clone()))),
            false => Body::Empty,
        };
        (
            Self {
                shared,
                readable: false,
                task: None,
                held: None,
            },
            body,
        )
    }

    /// Starts the request's task.
    pub(super) fn serve(&mut self, origin: Rc<Origin>, request: Box<Request<Body>>) {
        // In a box, because a task copies its future when it begins and when it ends.
        let response = Box::pin(respond(origin, self.shared.clone(), request));
        self.task = Some(spawn_local(response).abort_handle());
    }

    /// Has a request wait.
    pub(super) fn hold(&mut self, origin: Rc<Origin>, request: Box<Request<Body>>) {
        self.held = Some((origin, request));
    }

    /// Serves a request that waits, if it is whole, without content, and safe.
    pub(super) fn serve_early(&mut self) {
        if !self.shared.upload.borrow().is_without_content() {
            return;
        }
        let may_go = |(_, request): &mut (_, Box<_>)| early::may_go(request);
        if let Some((origin, request)) = self.held.take_if(may_go) {
            self.serve(origin, request);
        }
    }

    /// Serves a request that waits.
    pub(super) fn release(&mut self) {
        if let Some((origin, request)) = self.held.take() {
            self.serve(origin, request);
        }
    }

    pub(super) fn unmark(&self) {
        self.shared.marked.set(false);
    }

    pub(super) fn set_readable(&mut self) {
        self.readable = true;
    }

    /// Takes in as much of the body as there is room for. Says whether quiche ran dry,
    /// which may have brought the stream's end to light.
    pub(super) fn read(&mut self, h3: &mut h3::Connection, qconn: &mut QuicheConnection) -> bool {
        if !self.readable {
            return false;
        }
        let dry = self
            .shared
            .upload
            .borrow_mut()
            .fill(self.shared.id, h3, qconn);
        self.readable = !dry;
        dry
    }

    /// Says whether they are well-formed and the first ones.
    pub(super) fn trailers(&mut self, list: &[h3::Header]) -> bool {
        match head::trailers(list) {
            Some(trailers) => self.shared.upload.borrow_mut().set_trailers(trailers),
            None => false,
        }
    }

    /// The client has sent everything.
    pub(super) fn finish_upload(&mut self) {
        self.shared.upload.borrow_mut().finish();
    }

    /// Whether everything that the client sends was received.
    pub(super) fn uploaded(&self) -> bool {
        self.shared.upload.borrow().is_finished()
    }

    /// Whether nothing has come after the request's head.
    pub(super) fn shows_no_content(&self) -> bool {
        !self.readable && self.shared.upload.borrow().shows_nothing()
    }

    /// Whether the task has given anything that quiche did not take yet.
    pub(super) fn has_output(&self) -> bool {
        self.shared.download.borrow().has_output()
    }

    /// Moves pieces of the response to quiche. Says whether that was all of it; `Err` is
    /// the code to reset the stream with.
    pub(super) fn flush(
        &mut self,
        h3: &mut h3::Connection,
        qconn: &mut QuicheConnection,
    ) -> Result<bool, u64> {
        self.shared
            .download
            .borrow_mut()
            .flush(self.shared.id, h3, qconn)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The upstream must not take what is here for the whole body.
        self.shared.upload.borrow_mut().reset();
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
