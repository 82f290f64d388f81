//! A request's body on its way from quiche to the task that serves the request.

use std::{
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};
use quiche::h3;

use super::Shared;
use crate::{proxy::BodyError, quic::QuicheConnection};

/// Pieces that were read and not yet taken.
pub(super) struct Upload {
    pieces: VecDeque<Bytes>,
    buffered: usize,
    trailers: Option<HeaderMap>,
    end: End,
    had_content: bool,
    had_trailers: bool,
    reader: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    NotYet,
    Finished,
    Reset,
}

impl Upload {
    pub(super) fn new(finished: bool) -> Self {
        Self {
            pieces: VecDeque::new(),
            buffered: 0,
            trailers: None,
            end: if finished { End::Finished } else { End::NotYet },
            had_content: false,
            had_trailers: false,
            reader: None,
        }
    }

    /// Reads until there is no room, or quiche has no more: then it says so.
    pub(super) fn fill(
        &mut self,
        id: u64,
        h3: &mut h3::Connection,
        qconn: &mut QuicheConnection,
    ) -> bool {
        while self.buffered < MAX_BUFFERED {
            let room = MAX_BUFFERED - self.buffered;
            let mut piece = BytesMut::with_capacity(qconn.stream_readable_len(id, room).max(1));
            let limit = piece.capacity().min(room);
            match h3.recv_body_buf(qconn, id, (&mut piece).limit(limit)) {
                Ok(read) => {
                    self.had_content = true;
                    self.buffered += read;
                    self.pieces.push_back(piece.freeze());
                    self.wake();
                }
                // `Done`, or the stream's error, which comes as an event of its own.
                Err(_) => return true,
            }
        }
        false
    }

    /// Says whether they are the first.
    pub(super) fn set_trailers(&mut self, trailers: HeaderMap) -> bool {
        self.trailers = Some(trailers);
        self.wake();
        !std::mem::replace(&mut self.had_trailers, true)
    }

    pub(super) fn finish(&mut self) {
        if self.end == End::NotYet {
            self.end = End::Finished;
            self.wake();
        }
    }

    pub(super) fn reset(&mut self) {
        if self.end == End::NotYet {
            self.end = End::Reset;
            self.wake();
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.end == End::Finished
    }

    /// Whether the client has sent everything, and that was nothing.
    pub(super) fn is_without_content(&self) -> bool {
        self.is_finished() && self.shows_nothing()
    }

    /// Whether nothing has come after the head.
    pub(super) fn shows_nothing(&self) -> bool {
        !self.had_content && !self.had_trailers
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(piece) = self.pieces.pop_front() {
            self.buffered -= piece.len();
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match self.end {
            End::Reset => Poll::Ready(Some(Err(BodyError::Reset))),
            // Trailers wait for the end, after which nothing can follow them.
            End::Finished => Poll::Ready(
                self.trailers
                    .take()
                    .map(|trailers| Ok(Frame::trailers(trailers))),
            ),
            End::NotYet => {
                self.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The task's view of a request's body.
pub(super) struct RequestBody {
    shared: Rc<Shared>,
}

impl RequestBody {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        Self { shared }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = self.shared.upload.borrow_mut().poll(cx);
        if matches!(&frame, Poll::Ready(Some(Ok(frame))) if frame.is_data()) {
            // There is room: have the connection read on.
            self.shared.mark();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        let upload = self.shared.upload.borrow();
        upload.pieces.is_empty() && upload.trailers.is_none() && upload.end == End::Finished
    }
}

/// What a stream holds of a body that the upstream does not take. Beyond it, QUIC's flow
/// control holds the client.
const MAX_BUFFERED: usize = 64 * 1024;
