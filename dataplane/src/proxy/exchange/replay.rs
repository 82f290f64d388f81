//! What was sent of a request's body, kept so that it can be sent again, and copied for
//! mirrors while it passes. Content is shared, not copied: a piece is a reference.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use crate::proxy::body::BodyError;

/// A frame that can be had twice.
#[derive(Clone, Debug)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Piece {
    fn of(frame: &Frame<Bytes>) -> Option<Self> {
        let trailers = || frame.trailers_ref().cloned().map(Self::Trailers);
        frame.data_ref().cloned().map(Self::Data).or_else(trailers)
    }

    fn len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }

    fn frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

/// What was sent, up to a bound.
#[derive(Default)]
pub(super) struct Record {
    /// `None`: nothing is kept, or it was too much.
    pieces: Option<Vec<Piece>>,
    size: usize,
    /// Index of the first piece that this attempt has not sent yet.
    next: usize,
}

impl Record {
    /// Keeps what is sent from now on.
    pub(super) fn begin(&mut self) {
        self.pieces = Some(Vec::new());
    }

    /// Whether everything that was sent can be sent again.
    pub(super) fn is_whole(&self) -> bool {
        self.pieces.is_some()
    }

    /// Goes back to the beginning. Says how many bytes are to be sent again.
    pub(super) fn rewind(&mut self) -> u64 {
        self.next = 0;
        self.size as u64
    }

    /// What an earlier attempt sent and this one did not.
    pub(super) fn replay(&mut self) -> Option<Frame<Bytes>> {
        let piece = self.pieces.as_ref()?.get(self.next)?.clone();
        self.next += 1;
        Some(piece.frame())
    }

    pub(super) fn is_replayed(&self) -> bool {
        self.pieces
            .as_ref()
            .is_none_or(|pieces| self.next >= pieces.len())
    }

    pub(super) fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(pieces) = &mut self.pieces else {
            return;
        };
        let Some(piece) = Piece::of(frame) else {
            return;
        };
        self.size += piece.len();
        if self.size > MOST_KEPT {
            self.pieces = None;
            return;
        }
        pieces.push(piece);
        self.next = pieces.len();
    }
}

/// The copies of a body that are under way. Dropped before the body's end, it breaks them off.
#[derive(Default)]
pub(super) struct Taps(Vec<Weak<Tap>>);

impl Taps {
    /// Another copy, from here on.
    pub(super) fn open(&mut self) -> Rc<Tap> {
        let tap = Rc::new(Tap::default());
        self.0.push(Rc::downgrade(&tap));
        tap
    }

    pub(super) fn push(&mut self, frame: &Frame<Bytes>) {
        if self.0.is_empty() {
            return;
        }
        self.0.retain(|tap| {
            let (Some(tap), Some(piece)) = (tap.upgrade(), Piece::of(frame)) else {
                return false;
            };
            tap.push(piece)
        });
    }

    /// The body came to its end.
    pub(super) fn finish(&mut self) {
        self.end(Stage::Finished);
    }

    /// The body breaks off.
    pub(super) fn reset(&mut self) {
        self.end(Stage::Reset);
    }

    fn end(&mut self, stage: Stage) {
        for tap in self.0.drain(..).filter_map(|tap| tap.upgrade()) {
            tap.end(stage);
        }
    }
}

impl Drop for Taps {
    fn drop(&mut self) {
        self.reset();
    }
}

/// One copy of a body: a bounded queue between the request and its mirror.
#[derive(Default)]
pub(crate) struct Tap {
    queue: RefCell<VecDeque<Piece>>,
    buffered: Cell<usize>,
    stage: Cell<Stage>,
    waker: Cell<Option<Waker>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    Finished,
    Reset,
    /// The mirror took less than came.
    Lagged,
}

impl Tap {
    /// Whether the mirror was too slow for the request.
    pub(crate) fn lagged(&self) -> bool {
        self.stage.get() == Stage::Lagged
    }

    pub(super) fn is_end(&self) -> bool {
        self.stage.get() == Stage::Finished && self.queue.borrow().is_empty()
    }

    pub(super) fn poll(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if matches!(self.stage.get(), Stage::Reset | Stage::Lagged) {
            return Poll::Ready(Some(Err(BodyError::Reset)));
        }
        if let Some(piece) = self.queue.borrow_mut().pop_front() {
            self.buffered.set(self.buffered.get() - piece.len());
            return Poll::Ready(Some(Ok(piece.frame())));
        }
        if self.stage.get() == Stage::Finished {
            return Poll::Ready(None);
        }
        self.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// `false`: no more is wanted.
    fn push(&self, piece: Piece) -> bool {
        let buffered = self.buffered.get() + piece.len();
        // One piece has room however large it is: it is there anyway.
        if buffered > LARGEST_LAG && self.buffered.get() > 0 {
            self.queue.borrow_mut().clear();
            self.end(Stage::Lagged);
            return false;
        }
        self.buffered.set(buffered);
        self.queue.borrow_mut().push_back(piece);
        self.wake();
        true
    }

    fn end(&self, stage: Stage) {
        self.stage.set(stage);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Bytes of a body that are kept to be sent again.
const MOST_KEPT: usize = 64 * 1024;
/// Bytes that a mirror may be behind.
const LARGEST_LAG: usize = 64 * 1024;
