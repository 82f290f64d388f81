//! hyper's client of HTTP/1.1 on a connection of bytes.

use std::{
    cell::RefCell,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use hyper::rt::{Read, ReadBufCursor, Write};

/// What a response has behind its head.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) len: u64,
    pub(super) trailers: Option<HeaderMap>,
    /// It came to its end.
    pub(super) whole: bool,
}

/// What is written for a request, and the response that `answer` is, if there is one and it is
/// one. The upstream says no more after it.
pub(super) fn exchange<B>(
    request: Request<B>,
    answer: Option<&[u8]>,
) -> (Vec<u8>, Option<Response<Received>>)
where
    B: Body<Data = Bytes, Error = io::Error> + 'static,
{
    let mut cx = Context::from_waker(Waker::noop());
    let wire = Wire {
        written: Rc::default(),
        answer: answer.map(<[u8]>::to_vec),
    };
    let written = wire.written.clone();
    let mut handshake = pin!(hyper::client::conn::http1::handshake(wire));
    let Poll::Ready(Ok((mut sender, connection))) = handshake.as_mut().poll(&mut cx) else {
        panic!("there is nothing to wait for");
    };
    let mut connection = pin!(connection);
    let mut response = pin!(sender.send_request(request));
    let mut head = None;
    for _ in 0..4 {
        if let Poll::Ready(answered) = response.as_mut().poll(&mut cx) {
            head = answered.ok();
            break;
        }
        let _open = connection.as_mut().poll(&mut cx);
    }
    let response = head.map(|response| {
        let (head, mut body) = response.into_parts();
        let mut content = Received::default();
        // Each turn brings a frame, unless nothing will come any more.
        let mut silent = 0;
        let mut open = true;
        while silent < 4 {
            silent += 1;
            match Pin::new(&mut body).poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    silent = 0;
                    content.len += frame.data_ref().map_or(0, Bytes::len) as u64;
                    content.trailers = frame.into_trailers().ok().or(content.trailers);
                }
                Poll::Ready(Some(Err(_))) => break,
                Poll::Ready(None) => {
                    content.whole = true;
                    break;
                }
                Poll::Pending => {}
            }
            open = open && connection.as_mut().poll(&mut cx).is_pending();
        }
        Response::from_parts(head, content)
    });
    (written.take(), response)
}

struct Wire {
    written: Rc<RefCell<Vec<u8>>>,
    /// `None`: nothing ever comes.
    answer: Option<Vec<u8>>,
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut room: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // An upstream answers what it was asked.
        if self.written.borrow().is_empty() {
            return Poll::Pending;
        }
        let Some(answer) = &mut self.answer else {
            return Poll::Pending;
        };
        let len = answer.len().min(room.remaining());
        room.put_slice(&answer[..len]);
        answer.drain(..len);
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.borrow_mut().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
