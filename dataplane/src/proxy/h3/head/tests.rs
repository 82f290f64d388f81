use hyper::ext::Protocol;

use super::*;

type Field<'a> = (&'a [u8], &'a [u8]);

const GET: [Field<'_>; 4] = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"a.example"),
    (b":path", b"/x?y=1"),
];

fn with(base: &[Field<'_>], more: &[(&'static [u8], &'static [u8])]) -> Option<Request<()>> {
    request(&[base, more].concat())
}

#[test]
fn a_request_has_its_parts_where_they_belong() {
    let request = with(&GET, &[(b"accept", b"*/*")]).unwrap();
    assert_eq!(request.method(), Method::GET);
    assert_eq!(request.uri().to_string(), "https://a.example/x?y=1");
    assert_eq!(request.version(), Version::HTTP_3);
    assert_eq!(request.headers()["accept"], "*/*");
}

#[test]
fn without_an_authority_there_must_be_a_host() {
    let without: Vec<_> = GET
        .into_iter()
        .filter(|(name, _)| *name != b":authority")
        .collect();
    let request = with(&without, &[(b"host", b"a.example")]).unwrap();
    assert_eq!(
        (request.uri().authority(), request.uri().path()),
        (None, "/x")
    );
    assert!(super::request(&without).is_none());
}

#[test]
fn malformed_heads_are_refused() {
    for missing in [&b":method"[..], b":scheme", b":path"] {
        let rest: Vec<_> = GET
            .into_iter()
            .filter(|(name, _)| *name != missing)
            .collect();
        assert!(request(&rest).is_none(), "{missing:?}");
    }
    let refused: &[(&[u8], &[u8])] = &[
        (b":method", b"GET"),
        (b":status", b"200"),
        (b":protocol", b"websocket"),
        (b"Upper", b"x"),
        (b"", b"x"),
        (b"na me", b"x"),
        (b"name", b"line\r\nfeed"),
        (b"name", b"nul\0"),
    ];
    for field in refused {
        assert!(with(&GET, &[*field]).is_none(), "{field:?}");
    }
    let late: &[Field<'_>] = &[GET[0], GET[1], GET[2], (b"accept", b"*/*"), GET[3]];
    assert!(request(late).is_none(), "a pseudo-header after a field");
    for path in [&b""[..], b"x", b"*", b"http://b/", b"/a b"] {
        let list: Vec<_> = GET
            .into_iter()
            .map(|(name, value)| (name, if name == b":path" { path } else { value }))
            .collect();
        assert!(request(&list).is_none(), "{path:?}");
    }
}

#[test]
fn connect_names_nothing_but_its_authority() {
    let connect: [Field<'_>; 2] = [(b":method", b"CONNECT"), (b":authority", b"a.example:443")];
    assert!(request(&connect).is_some());
    assert!(with(&connect, &[(b"x", b"y")]).is_some());
    assert!(request(&[&connect[..], &[(b":path" as &[u8], b"/" as &[u8])]].concat()).is_none());
    assert!(request(&connect[..1]).is_none());
}

#[test]
fn cookie_crumbs_are_joined() {
    let request = with(&GET, &[(b"cookie", b"a=1"), (b"cookie", b"b=2")]).unwrap();
    let cookies: Vec<_> = request.headers().get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; b=2"]);
}

#[test]
fn trailers_have_no_pseudo_headers() {
    assert!(trailers(&[(&b"grpc-status"[..], &b"0"[..])]).is_some());
    assert!(trailers(&[(&b":path"[..], &b"/"[..])]).is_none());
}

#[test]
fn an_extended_connect_names_a_protocol_and_a_target() {
    let extended: [Field<'_>; 5] = [
        (b":method", b"CONNECT"),
        (b":protocol", b"websocket"),
        (b":scheme", b"https"),
        (b":authority", b"a.example"),
        (b":path", b"/ws?x"),
    ];
    let head = request(&extended).expect("a good request");
    assert_eq!(head.uri(), "https://a.example/ws?x");
    let protocol = head.extensions().get::<Protocol>();
    assert_eq!(protocol.map(Protocol::as_str), Some("websocket"));
    for missing in [2, 4] {
        let mut without = extended.to_vec();
        without.remove(missing);
        assert!(request(&without).is_none(), "{missing}");
    }
    let mut get = extended;
    get[0].1 = b"GET";
    assert!(request(&get).is_none());
}
