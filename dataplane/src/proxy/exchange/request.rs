//! A request's body on its way to the upstream.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{
    Exchange,
    replay::{Record, Tap, Taps},
};
use crate::{
    proxy::{
        body::{Body, BodyError},
        failure::Failure,
        fields,
        pause::Pause,
    },
    snapshot::HttpLimits,
};

/// What hyper pulls and sends to the upstream. The content itself stays in the
/// [`Exchange`], so that the response's end can stop it wherever it is.
pub(crate) struct RequestBody(Source);

enum Source {
    /// No content.
    Empty,
    /// The client's. Of several attempts, only the latest gets it.
    Upload {
        exchange: Rc<Exchange>,
        attempt: u32,
    },
    /// A copy of the client's.
    Copy(Rc<Tap>),
}

impl RequestBody {
    pub(super) fn new(exchange: Rc<Exchange>) -> Self {
        let (empty, attempt) = {
            let upload = exchange.upload.borrow();
            (upload.is_end(), upload.attempt)
        };
        if empty {
            return Self::empty();
        }
        Self(Source::Upload { exchange, attempt })
    }

    /// A body without content.
    pub(crate) fn empty() -> Self {
        Self(Source::Empty)
    }

    /// A copy of what comes from now on, and how it fares. A body without content has none.
    pub(crate) fn copy(&self) -> (Self, Option<Rc<Tap>>) {
        match &self.0 {
            Source::Upload { exchange, .. } if !self.is_end_stream() => {
                let tap = exchange.upload.borrow_mut().taps.open();
                (Self(Source::Copy(tap.clone())), Some(tap))
            }
            _ => (Self::empty(), None),
        }
    }

    /// Learns whether there is content at all where the head does not say so: HTTP/3 and
    /// HTTP/2 clients often end a GET with a frame of its own. Waits only where the head
    /// said that there is none.
    pub(crate) async fn settle(&mut self) -> Result<(), Failure> {
        let Source::Upload { exchange, .. } = &self.0 else {
            return Ok(());
        };
        std::future::poll_fn(|cx| exchange.upload.borrow_mut().poll_settle(cx, exchange)).await?;
        let ended = exchange.upload.borrow().is_end();
        if ended {
            self.0 = Source::Empty;
        }
        Ok(())
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &self.0 {
            Source::Empty => Poll::Ready(None),
            Source::Copy(tap) => tap.poll(cx),
            Source::Upload { exchange, attempt } => {
                let mut upload = exchange.upload.borrow_mut();
                if upload.attempt != *attempt {
                    return Poll::Ready(Some(Err(BodyError::Reset)));
                }
                upload.poll(cx, exchange)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Empty => true,
            Source::Copy(tap) => tap.is_end(),
            Source::Upload { exchange, attempt } => {
                let upload = exchange.upload.borrow();
                upload.attempt == *attempt && upload.is_end()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Empty => SizeHint::with_exact(0),
            Source::Copy(_) => SizeHint::default(),
            Source::Upload { exchange, .. } => exchange
                .upload
                .borrow()
                .unsent
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// The state of a request's body.
#[derive(Default)]
pub(super) struct Upload {
    body: Body,
    /// Read, and to be sent before anything else.
    next: Option<Frame<Bytes>>,
    /// The last of the announced content. It waits for the end of the body, because more
    /// content would make the request malformed, and the upstream must not see its end then.
    held: Option<Bytes>,
    /// Announced and not yet read.
    unread: Option<u64>,
    /// Announced and not yet sent.
    unsent: Option<u64>,
    stage: Stage,
    pause: Pause,
    waker: Option<Waker>,
    limits: HttpLimits,
    record: Record,
    attempt: u32,
    taps: Taps,
}

#[derive(Default)]
enum Stage {
    Open,
    /// The end was read.
    #[default]
    Done,
    /// Nobody wants the rest.
    Cancelled,
    Failed(Failure),
}

impl Upload {
    /// The head was read, and this is what follows it. In place, because all the rest is as
    /// it was.
    pub(super) fn begin(&mut self, body: Body, content_length: Option<u64>, limits: &HttpLimits) {
        self.stage = match content_length {
            _ if !body.is_end_stream() => Stage::Open,
            Some(1..) => Stage::Failed(Failure::from(&BodyError::LengthMismatch)),
            _ => Stage::Done,
        };
        if matches!(self.stage, Stage::Open) {
            self.body = body;
        }
        (self.unread, self.unsent) = (content_length, content_length);
        self.limits = limits.clone();
    }

    /// Whether the whole request was read.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        match self.stage {
            Stage::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    pub(super) fn cancel(&mut self) {
        if matches!(self.stage, Stage::Open) {
            self.stop(Stage::Cancelled);
        }
    }

    /// Keeps what is sent, so that it can be sent again.
    pub(super) fn record(&mut self) {
        self.record.begin();
    }

    /// Whether another attempt can have the whole body.
    pub(super) fn is_repeatable(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Done) && self.record.is_whole()
    }

    /// Gives the body to another attempt, from its beginning.
    pub(super) fn rewind(&mut self) {
        self.attempt += 1;
        let again = self.record.rewind();
        if let Some(unsent) = &mut self.unsent {
            *unsent += again;
        }
        // Whoever waits for more finds out that it is not for them.
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether everything was read and sent.
    pub(super) fn is_sent(&self) -> bool {
        self.is_done() && self.record.is_replayed()
    }

    /// Whether nothing is left to send.
    fn is_end(&self) -> bool {
        self.is_sent() && self.next.is_none()
    }

    /// The next frame to send.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let again = self.record.replay();
        let polled = match again {
            Some(frame) => Some(Ok(frame)),
            None => {
                let polled = ready!(self.pull(cx, exchange));
                if let Some(Ok(frame)) = &polled {
                    self.record.keep(frame);
                    self.taps.push(frame);
                }
                polled
            }
        };
        if let (Some(Ok(frame)), Some(unsent)) = (&polled, &mut self.unsent) {
            *unsent -= frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        if self.is_done() && self.next.is_none() {
            self.taps.finish();
        }
        Poll::Ready(polled)
    }

    /// The next frame that the client sends.
    fn pull(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if let Some(frame) = self.next.take() {
                return Poll::Ready(Some(Ok(frame)));
            }
            match self.stage {
                Stage::Open => {}
                Stage::Done => return Poll::Ready(None),
                Stage::Cancelled | Stage::Failed(_) => {
                    return Poll::Ready(Some(Err(BodyError::Reset)));
                }
            }
            let Poll::Ready(event) = Pin::new(&mut self.body).poll_frame(cx) else {
                let idle = self.limits.body_idle_timeout;
                ready!(self.poll_pause(cx, idle));
                return Poll::Ready(Some(Err(self.fail(BodyError::Idle))));
            };
            self.pause.end();
            let outcome = match event {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.take_data(data, exchange),
                    Err(frame) => self.take_trailers(frame),
                },
                Some(Err(error)) => Err(error),
                None => self.take_end(),
            };
            match outcome {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(self.fail(error)))),
            }
        }
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>, idle: std::time::Duration) -> Poll<()> {
        // The waker serves `cancel`, which comes from another task.
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
        self.pause.poll(cx, idle, None).map(|_| ())
    }

    fn take_data(
        &mut self,
        data: Bytes,
        exchange: &Exchange,
    ) -> Result<Option<Frame<Bytes>>, BodyError> {
        let length = data.len() as u64;
        if length == 0 {
            return Ok(None);
        }
        exchange
            .request_bytes
            .set(exchange.request_bytes.get() + length);
        if let Some(unread) = &mut self.unread {
            *unread = unread
                .checked_sub(length)
                .ok_or(BodyError::LengthMismatch)?;
            if *unread == 0 && !self.body.is_end_stream() {
                self.held = Some(data);
                return Ok(None);
            }
        }
        if self.body.is_end_stream() {
            self.check_length()?;
            self.stop(Stage::Done);
        }
        Ok(Some(Frame::data(data)))
    }

    fn take_trailers(&mut self, frame: Frame<Bytes>) -> Result<Option<Frame<Bytes>>, BodyError> {
        self.check_length()?;
        let Ok(trailers) = frame.into_trailers() else {
            return Ok(None);
        };
        if !fields::trailers_may_pass(&trailers, &self.limits) {
            return Err(BodyError::Trailers);
        }
        let held = self.held.take();
        self.stop(Stage::Done);
        self.next = Some(Frame::trailers(trailers));
        Ok(held.map(Frame::data))
    }

    fn take_end(&mut self) -> Result<Option<Frame<Bytes>>, BodyError> {
        self.check_length()?;
        let held = self.held.take();
        self.stop(Stage::Done);
        Ok(held.map(Frame::data))
    }

    fn check_length(&self) -> Result<(), BodyError> {
        match self.unread {
            Some(1..) => Err(BodyError::LengthMismatch),
            _ => Ok(()),
        }
    }

    fn fail(&mut self, error: BodyError) -> BodyError {
        self.stop(Stage::Failed(Failure::from(&error)));
        error
    }

    /// Dropping the body tells its sender that nothing more is wanted.
    fn stop(&mut self, stage: Stage) {
        if !matches!(stage, Stage::Done) {
            self.taps.reset();
        }
        self.stage = stage;
        self.body = Body::Empty;
        self.held = None;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll_settle(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
    ) -> Poll<Result<(), Failure>> {
        if let Some(failure) = self.failure() {
            return Poll::Ready(Err(failure));
        }
        match self.pull(cx, exchange) {
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(Failure::from(&error))),
            Poll::Ready(Some(Ok(frame))) => {
                self.next = Some(frame);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(None) => Poll::Ready(Ok(())),
            Poll::Pending if self.unread == Some(0) => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }
}
