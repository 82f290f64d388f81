//! A request's way from field lines of HTTP/3 to the bytes that an upstream of HTTP/1.1
//! gets: it is one request, and the one that was checked.

use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use http::{Request, header};
use http_body::{Body, Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use quiche::h3::Header;
use tidegate_dataplane::fuzzing;

use crate::path::is_canonical;

/// Names that have a number in inputs.
pub(super) const NAMES: [&[u8]; 24] = [
    b":method",
    b":scheme",
    b":authority",
    b":path",
    b":protocol",
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"te",
    b"trailer",
    b"upgrade",
    b"expect",
    b"cookie",
    b"forwarded",
    b"x-forwarded-for",
    b"via",
    b"keep-alive",
    b"proxy-connection",
    b"http2-settings",
    b"authorization",
    b"sec-websocket-key",
    b"early-data",
    b"accept",
];

pub(super) fn run(data: &[u8]) {
    if let Ok(lines) = lines(&mut Unstructured::new(data)) {
        let _forwarded = check(&lines);
        if let Some(trailers) = fuzzing::trailers(&lines) {
            assert!(!trailers.contains_key(header::CONTENT_LENGTH));
            assert!(!trailers.contains_key(header::TRANSFER_ENCODING));
        }
    }
}

/// A number for each name that is known; any other is written out.
fn lines(input: &mut Unstructured<'_>) -> Result<Vec<Header>> {
    let mut lines = Vec::new();
    while !input.is_empty() {
        let name = match NAMES.get(usize::from(input.arbitrary::<u8>()?)) {
            Some(known) => known,
            None => text(input)?,
        };
        lines.push(Header::new(name, text(input)?));
    }
    Ok(lines)
}

fn text<'a>(input: &mut Unstructured<'a>) -> Result<&'a [u8]> {
    let len = usize::from(input.arbitrary::<u8>()?).min(input.len());
    input.bytes(len)
}

/// Whether the request would be sent on. Panics where what is sent is not one request.
pub(super) fn check(lines: &[Header]) -> bool {
    let Some(head) = fuzzing::request_head(lines) else {
        return false;
    };
    let Some((request, announced)) = fuzzing::upstream_request(head) else {
        return false;
    };
    if request.uri().path() != "*" {
        is_canonical(request.uri().path());
    }
    let expected = request.clone();
    let sent = sent(request.map(|()| Content { announced }));
    let mut room = [httparse::EMPTY_HEADER; 300];
    let mut read = httparse::Request::new(&mut room);
    let status = read.parse(&sent).expect("what is sent is HTTP/1.1");
    assert_eq!(
        status,
        httparse::Status::Complete(sent.len()),
        "one head and nothing behind it"
    );
    assert_eq!(read.method, Some(expected.method().as_str()));
    assert_eq!(read.path, Some(&*expected.uri().to_string()));
    let count = |name: &str| {
        let named = read.headers.iter();
        named
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .count()
    };
    assert_eq!(count("host"), 1);
    assert!(count("content-length") + count("transfer-encoding") <= 1);
    for field in &*read.headers {
        let mut passed = expected.headers().get_all(field.name).iter();
        let framing = ["content-length", "transfer-encoding"]
            .iter()
            .any(|name| field.name.eq_ignore_ascii_case(name));
        // Only the framing is hyper's to say, and it is told how much is announced.
        assert!(
            framing || passed.any(|value| value == field.value),
            "{}",
            field.name
        );
        if field.name.eq_ignore_ascii_case("content-length") {
            assert_eq!(
                field.value,
                announced.unwrap_or_default().to_string().as_bytes()
            );
        }
    }
    for name in ["keep-alive", "proxy-connection", "http2-settings", "expect"] {
        assert_eq!(count(name), 0, "{name}");
    }
    assert_eq!(count("forwarded"), 1, "whatever the client said of itself");
    true
}

/// Content of which nothing comes.
struct Content {
    announced: Option<u64>,
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.announced {
            None | Some(0) => Poll::Ready(None),
            Some(_) => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.announced, None | Some(0))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.announced.unwrap_or_default())
    }
}

/// What hyper writes for a request.
fn sent(request: Request<Content>) -> Vec<u8> {
    let mut cx = Context::from_waker(Waker::noop());
    let wire = Wire::default();
    let written = wire.0.clone();
    let mut handshake = pin!(hyper::client::conn::http1::handshake(wire));
    let Poll::Ready(Ok((mut sender, connection))) = handshake.as_mut().poll(&mut cx) else {
        panic!("there is nothing to wait for");
    };
    let mut connection = pin!(connection);
    let mut response = pin!(sender.send_request(request));
    for _ in 0..4 {
        let _no_response = response.as_mut().poll(&mut cx);
        let _open = connection.as_mut().poll(&mut cx);
    }
    written.take()
}

#[derive(Default)]
struct Wire(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

impl Read for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
