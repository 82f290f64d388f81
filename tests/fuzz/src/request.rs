//! A request's way from its fields, in each version of HTTP, to the bytes that an upstream of
//! HTTP/1.1 gets: it is one request, and the one that was checked.

mod heads;
mod rules;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use http::{Request, Version, header};
use http_body::{Body, Frame, SizeHint};
use quiche::h3::Header;
use tidegate_dataplane::fuzzing;

pub(super) use self::{
    heads::fields,
    rules::{CONNECTION_SPECIFIC, KEPT, listed},
};
use crate::{path::is_canonical, wire};

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
    let Some((&mode, data)) = data.split_first() else {
        return;
    };
    let Ok(lines) = lines(&mut Unstructured::new(data)) else {
        return;
    };
    let version = VERSIONS[usize::from(mode & 3)];
    let _forwarded = match version {
        Version::HTTP_3 => check(&lines),
        _ => heads::of(version, &lines).is_some_and(is_forwarded),
    };
    if let Some(trailers) = fuzzing::trailers(&lines) {
        assert!(!trailers.contains_key(header::CONTENT_LENGTH));
        assert!(!trailers.contains_key(header::TRANSFER_ENCODING));
    }
}

/// Of requests, by the number that an input begins with.
pub(super) const VERSIONS: [Version; 4] = [
    Version::HTTP_3,
    Version::HTTP_2,
    Version::HTTP_11,
    Version::HTTP_10,
];

/// A number for each name that is known; any other is written out.
pub(super) fn lines(input: &mut Unstructured<'_>) -> Result<Vec<Header>> {
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

/// Whether the request of HTTP/3 would be sent on. Panics where what is sent is not one request.
pub(super) fn check(lines: &[Header]) -> bool {
    fuzzing::request_head(lines).is_some_and(is_forwarded)
}

/// The same, of a request of any version.
fn is_forwarded(head: Request<()>) -> bool {
    let came = head.clone();
    let Some((request, announced)) = fuzzing::upstream_request(head) else {
        return false;
    };
    rules::hold(&came, &request);
    if request.uri().path() != "*" {
        is_canonical(request.uri().path());
    }
    let expected = request.clone();
    let chunked = came.headers().contains_key(header::TRANSFER_ENCODING);
    let content = Content { announced, chunked };
    let (sent, _) = wire::exchange(request.map(|()| content), None);
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
    assert_eq!(count("transfer-encoding"), usize::from(chunked));
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
pub(super) struct Content {
    announced: Option<u64>,
    chunked: bool,
}

impl Content {
    pub(super) fn none() -> Self {
        Self {
            announced: None,
            chunked: false,
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.is_end_stream() {
            true => Poll::Ready(None),
            false => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.chunked && matches!(self.announced, None | Some(0))
    }

    fn size_hint(&self) -> SizeHint {
        match self.chunked {
            true => SizeHint::default(),
            false => SizeHint::with_exact(self.announced.unwrap_or_default()),
        }
    }
}
