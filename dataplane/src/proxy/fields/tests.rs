use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::*;

type Fields = &'static [(&'static str, &'static str)];

const V10: Version = Version::HTTP_10;
const V11: Version = Version::HTTP_11;
const V2: Version = Version::HTTP_2;
const V3: Version = Version::HTTP_3;

fn fields(rows: &[(&str, &str)]) -> HeaderMap {
    rows.iter()
        .map(|(name, value)| {
            let name: HeaderName = name.parse().expect("a field name");
            (
                name,
                HeaderValue::from_bytes(value.as_bytes()).expect("a field value"),
            )
        })
        .collect()
}

fn verdict(version: Version, rows: &[(&str, &str)]) -> Result<Framing, u16> {
    check(version, &fields(rows), &HttpLimits::default()).map_err(|it| it.status().as_u16())
}

fn framing(content_length: Option<u64>) -> Framing {
    Framing {
        content_length,
        ..Framing::default()
    }
}

#[test]
fn every_version_gets_the_same_verdict_on_framing() {
    let rows: &[(Fields, Result<Option<u64>, u16>)] = &[
        (&[], Ok(None)),
        (&[("content-length", "0")], Ok(Some(0))),
        (&[("content-length", "5")], Ok(Some(5))),
        (&[("content-length", "0005")], Ok(Some(5))),
        (
            &[("content-length", "18446744073709551615")],
            Ok(Some(u64::MAX)),
        ),
        (&[("content-length", "18446744073709551616")], Err(400)),
        (&[("content-length", "")], Err(400)),
        (&[("content-length", "+5")], Err(400)),
        (&[("content-length", "-1")], Err(400)),
        (&[("content-length", "5.0")], Err(400)),
        (&[("content-length", "0x5")], Err(400)),
        (&[("content-length", "5 5")], Err(400)),
        (&[("content-length", "5, 5")], Err(400)),
        (&[("content-length", "5,6")], Err(400)),
        (
            &[("content-length", "5"), ("content-length", "5")],
            Err(400),
        ),
        (
            &[("content-length", "5"), ("content-length", "6")],
            Err(400),
        ),
        (&[("content-length", "\u{665}")], Err(400)),
        (&[("expect", "100-continue, x")], Err(417)),
        (&[("expect", "magic")], Err(417)),
    ];
    for version in [V10, V11, V2, V3] {
        for (fields, expected) in rows {
            assert_eq!(
                verdict(version, fields),
                expected.map(framing),
                "{version:?} {fields:?}"
            );
        }
    }
}

#[test]
fn transfer_codings_are_for_http_1_1_and_only_chunked() {
    let rows: &[(Version, Fields, Result<(), u16>)] = &[
        (V11, &[("transfer-encoding", "chunked")], Ok(())),
        (V11, &[("transfer-encoding", "Chunked")], Ok(())),
        (V11, &[("transfer-encoding", "gzip, chunked")], Err(400)),
        (V11, &[("transfer-encoding", "chunked, chunked")], Err(400)),
        (V11, &[("transfer-encoding", "chunked, identity")], Err(400)),
        (V11, &[("transfer-encoding", "identity")], Err(400)),
        (V11, &[("transfer-encoding", "xchunked")], Err(400)),
        (V11, &[("transfer-encoding", "")], Err(400)),
        (
            V11,
            &[
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
            Err(400),
        ),
        (
            V11,
            &[("transfer-encoding", "chunked"), ("content-length", "5")],
            Err(400),
        ),
        (V10, &[("transfer-encoding", "chunked")], Err(400)),
        (V2, &[("transfer-encoding", "chunked")], Err(400)),
        (V3, &[("transfer-encoding", "chunked")], Err(400)),
    ];
    for (version, fields, expected) in rows {
        assert_eq!(
            verdict(*version, fields).map(drop),
            *expected,
            "{version:?} {fields:?}"
        );
    }
}

#[test]
fn what_is_about_a_connection_is_malformed_in_http_2_and_3_only() {
    let rows: &[(&[(&str, &str)], u16)] = &[
        (&[("connection", "close")], 400),
        (&[("connection", "x-secret")], 400),
        (&[("keep-alive", "timeout=5")], 400),
        (&[("proxy-connection", "keep-alive")], 400),
        (&[("upgrade", "h2c")], 400),
        (&[("te", "gzip")], 400),
        (&[("te", "trailers, gzip")], 400),
        (&[("te", "Trailers;q=1")], 400),
        (&[("x-padded", " a")], 400),
        (&[("x-padded", "a ")], 400),
        (&[("x-padded", "\ta")], 400),
        (&[("x-padded", "a\t")], 400),
    ];
    for (fields, expected) in rows {
        for version in [V2, V3] {
            assert_eq!(
                verdict(version, fields).map(drop),
                Err(*expected),
                "{fields:?}"
            );
        }
        assert_eq!(verdict(V11, fields).map(drop), Ok(()), "{fields:?}");
    }
}

#[test]
fn what_the_client_waits_for_and_takes_is_noticed() {
    let trailers = Framing {
        te_trailers: true,
        ..Framing::default()
    };
    let waits = Framing {
        expects_continue: true,
        ..Framing::default()
    };
    for version in [V11, V2, V3] {
        assert_eq!(verdict(version, &[("te", "trailers")]), Ok(trailers));
        assert_eq!(verdict(version, &[("expect", "100-Continue")]), Ok(waits));
    }
    assert_eq!(
        verdict(V11, &[("te", "gzip, trailers;q=0.5")]),
        Ok(trailers)
    );
    assert_eq!(verdict(V11, &[("te", "trailersx")]), Ok(Framing::default()));
}

#[test]
fn an_upgrade_is_one_that_is_asked_for_in_full() {
    let (connection, websocket) = (("connection", "Upgrade"), ("upgrade", "websocket"));
    for (version, fields, expected) in [
        (V11, &[connection, websocket][..], Some(Upgrade::WebSocket)),
        (
            V11,
            &[("connection", "keep-alive, upgrade"), websocket],
            Some(Upgrade::WebSocket),
        ),
        (
            V11,
            &[connection, ("upgrade", "something/1")],
            Some(Upgrade::Other),
        ),
        (V11, &[connection, ("upgrade", "h2c")], None),
        (V11, &[connection, ("upgrade", "h2c, WebSocket/13")], None),
        (V11, &[connection, websocket, ("upgrade", "other")], None),
        (V11, &[websocket], None),
        (V11, &[connection, websocket, ("content-length", "5")], None),
        (
            V11,
            &[connection, websocket, ("transfer-encoding", "chunked")],
            None,
        ),
        (Version::HTTP_10, &[connection, websocket], None),
    ] {
        let framing = verdict(version, fields).expect("a good request");
        assert_eq!(framing.upgrade, expected, "{fields:?}");
    }
}

#[test]
fn many_small_fields_cost_as_much_as_few_large_ones() {
    let limits = HttpLimits {
        max_fields: 3,
        max_field_section_size: 200,
        ..HttpLimits::default()
    };
    let status = |rows: &[(&str, &str)]| {
        check(V3, &fields(rows), &limits)
            .map(drop)
            .map_err(|it| it.status().as_u16())
    };
    assert_eq!(
        status(&[("cookie", "a"), ("cookie", "b"), ("cookie", "c")]),
        Ok(())
    );
    assert_eq!(status(&[("cookie", "a"); 4]), Err(431));
    // 32 and the name count for each: 200 bytes are full at 6 + 162 + 32.
    let fits = "x".repeat(162);
    assert_eq!(status(&[("cookie", &fits)]), Ok(()));
    assert_eq!(status(&[("cookie", &format!("{fits}x"))]), Err(431));
}

#[test]
fn trailers_may_neither_frame_nor_route() {
    let limits = HttpLimits::default();
    let rows: &[(&[(&str, &str)], bool)] = &[
        (&[], true),
        (&[("grpc-status", "0"), ("grpc-message", "")], true),
        (&[("x-checksum", "abc")], true),
        (&[("content-length", "5")], false),
        (&[("transfer-encoding", "chunked")], false),
        (&[("host", "evil.example")], false),
        (&[("connection", "close")], false),
        (&[("te", "trailers")], false),
        (&[("trailer", "x")], false),
        (&[("expect", "100-continue")], false),
        (&[("authorization", "Bearer x")], false),
        (&[("content-type", "text/html")], false),
        (&[("content-encoding", "gzip")], false),
        (&[("content-range", "bytes 0-1/2")], false),
    ];
    for (trailers, expected) in rows {
        assert_eq!(
            trailers_may_pass(&fields(trailers), &limits),
            *expected,
            "{trailers:?}"
        );
    }
    let many = fields(&[("x", "y"); 129]);
    assert!(!trailers_may_pass(&many, &limits));
}

#[test]
fn only_what_is_end_to_end_goes_on() {
    let mut headers = fields(&[
        ("connection", "close, X-Hop"),
        ("connection", "keep-alive"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic x"),
        ("transfer-encoding", "chunked"),
        ("te", "trailers"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
        ("trailer", "x-checksum"),
        ("accept", "*/*"),
    ]);
    strip_hop_by_hop(&mut headers);
    assert_eq!(
        headers,
        fields(&[("trailer", "x-checksum"), ("accept", "*/*")])
    );
}

#[test]
fn connection_does_not_take_away_what_was_checked() {
    let mut headers = fields(&[
        (
            "connection",
            "content-length, host, authorization, x-hop, not a name",
        ),
        ("content-length", "5"),
        ("host", "a.example"),
        ("authorization", "Bearer x"),
        ("x-hop", "1"),
    ]);
    strip_hop_by_hop(&mut headers);
    assert_eq!(
        headers,
        fields(&[
            ("content-length", "5"),
            ("host", "a.example"),
            ("authorization", "Bearer x")
        ])
    );
}

#[test]
fn a_response_has_one_length_or_none() {
    let rows: &[(Version, Fields, Result<Fields, Failure>)] = &[
        (
            V2,
            &[("content-length", "5")],
            Ok(&[("content-length", "5")]),
        ),
        (
            V11,
            &[("transfer-encoding", "chunked"), ("content-length", "5")],
            Ok(&[]),
        ),
        (
            V11,
            &[("content-length", "5"), ("content-length", "5")],
            Err(Failure::Upstream),
        ),
        (V2, &[("content-length", "5, 5")], Err(Failure::Upstream)),
        (V2, &[("content-length", "-1")], Err(Failure::Upstream)),
    ];
    for (version, rows, expected) in rows {
        let mut headers = fields(rows);
        let outcome = check_response(*version, &mut headers).map(|()| headers);
        assert_eq!(outcome, expected.map(fields), "{rows:?}");
    }
}

#[test]
fn a_response_has_no_white_space_around_its_values() {
    let mut headers = fields(&[
        ("grpc-message", "no such file: "),
        ("x-odd", "\t a b "),
        ("x-blank", " "),
        ("connection", "x-hop"),
        ("x-hop", "1"),
    ]);
    clean_response(&mut headers);
    let expected = [
        ("grpc-message", "no such file:"),
        ("x-odd", "a b"),
        ("x-blank", ""),
    ];
    assert_eq!(headers, fields(&expected));
}
