//! A response's way from an upstream to the field lines of HTTP/3 that a client gets: each is
//! valid, and none is about the upstream's connection.

use arbitrary::{Result, Unstructured};
use http::{HeaderMap, Request, Response, StatusCode, Version, header, response};
use prost::Message as _;
use quiche::h3::{Header, NameValue as _};
use tidegate_dataplane::{
    filter::{self, Filter},
    fuzzing,
};
use tidegate_proto::v1;

use crate::{
    filters,
    request::{self, fields, listed},
    wire::{self, Received},
};

pub(super) fn run(data: &[u8]) {
    let Some((&mode, data)) = data.split_first() else {
        return;
    };
    let _too_short = match mode & 1 {
        0 => of_fields(Unstructured::new(data)),
        _ => of_bytes(Unstructured::new(data)),
    };
}

/// Fields as they are, as an upstream of HTTP/2 may send them.
fn of_fields(mut input: Unstructured<'_>) -> Result<()> {
    let status = input.int_in_range(200..=999)?;
    let filters = rule(&mut input)?;
    let mut sections = Vec::new();
    for _ in 0..2 {
        let len = usize::from(input.arbitrary::<u16>()?).min(input.len());
        let lines = request::lines(&mut Unstructured::new(input.bytes(len)?))?;
        sections.push(fields(&lines).ok_or(arbitrary::Error::IncorrectFormat)?);
    }
    let (trailers, headers) = (sections.pop(), sections.pop().unwrap_or_default());
    let mut response = Response::new(Received::default());
    *response.status_mut() = StatusCode::from_u16(status).expect("three digits");
    *response.version_mut() = Version::HTTP_2;
    *response.headers_mut() = headers;
    response.body_mut().trailers = trailers;
    check(response, &filters);
    Ok(())
}

/// What an upstream of HTTP/1.1 sends.
fn of_bytes(mut input: Unstructured<'_>) -> Result<()> {
    let filters = rule(&mut input)?;
    let request = Request::get("/").header(header::HOST, "a.example");
    let request = request.body(request::Content::none()).expect("a request");
    let (_, response) = wire::exchange(request, Some(input.take_rest()));
    // The gateway answers that one itself.
    let switched = |response: &Response<_>| response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if let Some(response) = response.filter(|response| !switched(response)) {
        check(response, &filters);
    }
    Ok(())
}

fn rule(input: &mut Unstructured<'_>) -> Result<Vec<Filter>> {
    let len = usize::from(input.arbitrary::<u8>()?).min(input.len());
    let rule = v1::Rule::decode(input.bytes(len)?);
    Ok(rule.ok().and_then(filters::of).unwrap_or_default())
}

fn check(response: Response<Received>, filters: &[Filter]) {
    let (head, content) = response.into_parts();
    let came = head.clone();
    let Some(lines) = fuzzing::response_head(head, filters) else {
        return;
    };
    let (status, rest) = lines.split_first().expect("it has a status");
    assert_eq!(status.name(), b":status");
    assert_eq!(status.value(), came.status.as_str().as_bytes());
    let mut made = HeaderMap::new();
    filter::response(filters, &mut made);
    made.insert(header::VIA, "1.1 tidegate".parse().expect("a value"));
    are_fields(rest);
    are_not_of_the_connection(&came.headers, rest, &made);
    tell_the_length(&came, &content, rest);
    if let Some(trailers) = content.trailers {
        let lines = fuzzing::response_trailers(trailers.clone());
        are_fields(&lines);
        are_not_of_the_connection(&trailers, &lines, &HeaderMap::new());
    }
}

/// RFC 9110 5 and RFC 9114 4.2.
fn are_fields(lines: &[Header]) {
    for line in lines {
        let (name, value) = (line.name(), line.value());
        let in_name = |byte: &u8| {
            matches!(byte, b'0'..=b'9' | b'a'..=b'z') || b"!#$%&'*+-.^_`|~".contains(byte)
        };
        assert!(!name.is_empty() && name.iter().all(in_name), "{line:?}");
        let in_value = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        assert!(value.iter().all(in_value), "{line:?}");
        assert_eq!(value.trim_ascii(), value, "{line:?}");
    }
}

/// Neither what HTTP/3 does not have, nor what the upstream said is for its connection, but for
/// what is `made` here.
fn are_not_of_the_connection(came: &HeaderMap, lines: &[Header], made: &HeaderMap) {
    for line in lines {
        let name = std::str::from_utf8(line.name()).expect("ASCII");
        assert!(
            !request::CONNECTION_SPECIFIC.contains(&name) && name != "te",
            "{name}"
        );
        let for_connection = listed(came).any(|listed| listed == name);
        assert!(
            !for_connection || request::KEPT.contains(&name) || made.contains_key(name),
            "{name}"
        );
    }
}

/// RFC 9110 8.6 and RFC 9112 6.3: once, and truly.
fn tell_the_length(came: &response::Parts, content: &Received, lines: &[Header]) {
    let mut told = lines.iter().filter(|line| line.name() == b"content-length");
    let Some(length) = told.next() else {
        return;
    };
    assert!(told.next().is_none(), "{came:?}");
    let length = std::str::from_utf8(length.value()).expect("digits");
    assert!(length.bytes().all(|byte| byte.is_ascii_digit()), "{length}");
    let has_content = ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&came.status);
    if content.whole && has_content {
        assert_eq!(length.parse(), Ok(content.len), "{came:?}");
    }
}

/// Inputs to begin with, and their names.
pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let rule = v1::Rule {
        filters: vec![v1::Filter {
            kind: Some(v1::filter::Kind::ResponseHeaders(v1::HeaderModifier {
                set: vec![v1::HeaderField {
                    name: "x-set".into(),
                    value: "1".into(),
                }],
                remove: vec!["server".into()],
                ..Default::default()
            })),
        }],
        ..Default::default()
    };
    let rule = rule.encode_to_vec();
    let by_rule = |mode, rest: &[u8]| [&[mode, rule.len() as u8][..], &rule, rest].concat();
    let answer = |text: &str| [&[1, 0][..], text.as_bytes()].concat();
    vec![
        (
            "whole",
            by_rule(
                1,
                b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\nConnection: x-a, close\r\n\
                  X-A: 1\r\nKeep-Alive: timeout=5\r\n\r\nok",
            ),
        ),
        (
            "chunked",
            answer(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-t\r\n\r\n\
                 2\r\nok\r\n0\r\nx-t: 1\r\nconnection: x-t\r\n\r\n",
            ),
        ),
        (
            "both-lengths",
            answer(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n\
                 2\r\nok\r\n0\r\n\r\n",
            ),
        ),
        (
            "hints",
            answer(
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
                 HTTP/1.0 404 Not Found\r\nUpgrade: h2c\r\nX: \t a \t\r\n\r\nuntil the end",
            ),
        ),
        // Content-Length and a field with space around it; trailers with Connection.
        (
            "fields",
            vec![
                0, 0, 200, 0, 7, 0, 6, 1, b'5', 23, 2, b' ', b'a', 4, 0, 8, 2, b't', b'e',
            ],
        ),
    ]
}
