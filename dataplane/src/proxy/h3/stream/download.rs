//! A response on its way from the task that serves the request to quiche.

use std::{
    collections::VecDeque,
    future::poll_fn,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, response::Parts};
use quiche::h3;

use super::{
    super::{H3_INTERNAL_ERROR, H3_REQUEST_CANCELLED, head},
    Shared,
};
use crate::quic::QuicheConnection;

/// Pieces that the task gave and quiche did not take yet: at most one of the body.
#[derive(Default)]
pub(super) struct Download {
    interims: VecDeque<Response<()>>,
    head: Option<(StatusCode, HeaderMap)>,
    piece: Option<Bytes>,
    trailers: Option<HeaderMap>,
    end: bool,
    reset: Option<u64>,
    /// A head of any kind is out, so that further ones are additional.
    begun: bool,
    writer: Option<Waker>,
}

/// The task's side.
impl Shared {
    /// A 1xx head. Too many are left out: they are hints.
    pub(in super::super) fn interim(&self, head: Response<()>) {
        let mut download = self.download.borrow_mut();
        if download.interims.len() < MAX_INTERIMS {
            download.interims.push_back(head);
            drop(download);
            self.mark();
        }
    }

    /// The final head. `end`: there is no content.
    pub(in super::super) fn head(&self, parts: Parts, end: bool) {
        let mut download = self.download.borrow_mut();
        download.head = Some((parts.status, parts.headers));
        download.end = end;
        drop(download);
        self.mark();
    }

    /// Whether quiche has taken the piece before.
    pub(in super::super) fn has_room(&self) -> bool {
        self.download.borrow().piece.is_none()
    }

    /// Waits until it has.
    pub(in super::super) async fn room(&self) {
        poll_fn(|cx| self.poll_room(cx)).await;
    }

    /// Ready when it has.
    pub(in super::super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut download = self.download.borrow_mut();
        if download.piece.is_some() {
            download.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// A piece of content for which there is room. `end`: it is the last.
    pub(in super::super) fn put(&self, piece: Bytes, end: bool) {
        let mut download = self.download.borrow_mut();
        download.piece = Some(piece).filter(|piece| !piece.is_empty());
        download.end = end;
        drop(download);
        self.mark();
    }

    /// The end, with or without trailers.
    pub(in super::super) fn end(&self, trailers: Option<HeaderMap>) {
        let mut download = self.download.borrow_mut();
        download.trailers = trailers;
        download.end = true;
        drop(download);
        self.mark();
    }

    /// The response breaks off; the client must not take it for whole.
    pub(in super::super) fn abort(&self, code: u64) {
        self.download.borrow_mut().reset = Some(code);
        self.mark();
    }
}

impl Download {
    /// Whether there is anything to move.
    pub(super) fn has_output(&self) -> bool {
        self.head.is_some()
            || self.piece.is_some()
            || self.reset.is_some()
            || self.end
            || !self.interims.is_empty()
    }

    /// Says whether everything is out; `Err` is the code to reset the stream with.
    pub(super) fn flush(
        &mut self,
        id: u64,
        h3: &mut h3::Connection,
        qconn: &mut QuicheConnection,
    ) -> Result<bool, u64> {
        if let Some(code) = self.reset {
            return Err(code);
        }
        match self.write(id, h3, qconn) {
            Ok(all) => Ok(all),
            Err(h3::Error::StreamBlocked | h3::Error::Done) => Ok(false),
            // The client sent STOP_SENDING, or is gone.
            Err(h3::Error::TransportError(_)) => Err(H3_REQUEST_CANCELLED),
            Err(_) => Err(H3_INTERNAL_ERROR),
        }
    }

    fn write(
        &mut self,
        id: u64,
        h3: &mut h3::Connection,
        qconn: &mut QuicheConnection,
    ) -> h3::Result<bool> {
        while let Some(interim) = self.interims.front() {
            self.write_head(id, h3, qconn, interim.status(), interim.headers(), false)?;
            self.begun = true;
            self.interims.pop_front();
        }
        if let Some((status, headers)) = &self.head {
            let end = self.end && self.trailers.is_none();
            match &self.piece {
                Some(piece) if piece.len() <= SMALL && !self.begun => {
                    let lines = head::lines(Some(status.as_str()), headers);
                    if h3.send_response_with_body(qconn, id, &lines, piece, end)? {
                        self.taken();
                    }
                }
                piece => {
                    let end = end && piece.is_none();
                    self.write_head(id, h3, qconn, *status, headers, end)?;
                }
            }
            self.begun = true;
            self.head = None;
            if end && self.piece.is_none() {
                return Ok(true);
            }
        }
        if let Some(piece) = &mut self.piece {
            let len = piece.len();
            let end = self.end && self.trailers.is_none();
            let written = h3.send_body_zc(qconn, id, piece, end)?;
            if written < len {
                return Ok(false);
            }
            self.taken();
            if end {
                return Ok(true);
            }
        }
        if !self.end || !self.begun {
            return Ok(false);
        }
        match &self.trailers {
            Some(trailers) => {
                h3.send_additional_headers(qconn, id, &head::lines(None, trailers), true, true)?;
            }
            None => drop(h3.send_body(qconn, id, &[], true)?),
        }
        Ok(true)
    }

    /// quiche has the piece: there is room for another one.
    fn taken(&mut self) {
        self.piece = None;
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    fn write_head(
        &self,
        id: u64,
        h3: &mut h3::Connection,
        qconn: &mut QuicheConnection,
        status: StatusCode,
        headers: &HeaderMap,
        end: bool,
    ) -> h3::Result<()> {
        let lines = head::lines(Some(status.as_str()), headers);
        if self.begun {
            h3.send_additional_headers(qconn, id, &lines, false, end)
        } else {
            h3.send_response(qconn, id, &lines, end)
        }
    }
}

const MAX_INTERIMS: usize = 8;
/// To copy a piece next to its head costs less than to write it by itself.
const SMALL: usize = 1024;
