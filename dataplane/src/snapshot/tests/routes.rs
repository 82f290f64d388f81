use super::*;

/// A snapshot whose route has this rule.
fn with_rule(rule: v1::Rule) -> v1::Snapshot {
    let mut wire = snapshot();
    wire.routes[0].rules = vec![rule];
    wire
}

fn with_match(matching: v1::Match) -> v1::Snapshot {
    with_rule(v1::Rule {
        matches: vec![matching],
        ..rule("default/shop:80")
    })
}

fn with_path(kind: v1::path_match::Kind) -> v1::Snapshot {
    with_match(v1::Match {
        path: Some(v1::PathMatch { kind: Some(kind) }),
        ..Default::default()
    })
}

fn with_filter(kind: v1::filter::Kind) -> v1::Snapshot {
    let filters = vec![v1::Filter { kind: Some(kind) }];
    with_rule(v1::Rule {
        filters,
        ..rule("default/shop:80")
    })
}

#[test]
fn routes_name_what_there_is() {
    let mut wire = snapshot();
    wire.routes[0].attachments[0].listener_id = "gone".into();
    assert_refused(wire, ROUTE, "attachments[0].listener_id", "`gone`");

    let mut wire = snapshot();
    wire.routes[0].attachments[0].hostnames.clear();
    assert_refused(wire, ROUTE, "attachments[0].hostnames", "use `*`");

    let mut wire = snapshot();
    wire.routes[0].attachments[0].hostnames = vec![String::new()];
    assert_refused(wire, ROUTE, "attachments[0].hostnames[0]", "use `*`");

    assert_refused(
        with_rule(rule("gone")),
        ROUTE,
        "rules[0].backends[0].backend_id",
        "`gone`",
    );

    // What is refused is there; saying that it is missing too would mislead.
    let mut wire = snapshot();
    wire.backends[0].protocol = 9;
    wire.certificates[0].chain_pem = Default::default();
    let fields = [(SITE, "chain_pem"), ("default/shop:80", "protocol")];
    assert_eq!(
        refused(wire),
        fields.map(|(object, field)| (object.into(), field.into()))
    );
}

#[test]
fn matches_that_cannot_be_are_refused() {
    use v1::path_match::Kind::{Exact, Prefix, Regex};
    let field = |field: &str| format!("rules[0].matches[0].{field}");
    for (kind, name, message) in [
        (Regex("/(".into()), "path.regex", "unclosed group"),
        (Regex("/a(?=b)".into()), "path.regex", "look-around"),
        (
            Regex(r"(\d{999}){999}".into()),
            "path.regex",
            "when compiled",
        ),
        (Exact("a".into()), "path.exact", "begin with `/`"),
        (Exact("/a%2fb".into()), "path.exact", "encoded `/`"),
        (Prefix("/a?b".into()), "path.prefix", "`?`"),
        (Prefix("/%".into()), "path.prefix", "hexadecimal"),
    ] {
        assert_refused(with_path(kind), ROUTE, &field(name), message);
    }
    let unknown = v1::Match {
        path: Some(v1::PathMatch { kind: None }),
        ..Default::default()
    };
    assert_refused(with_match(unknown), ROUTE, &field("path"), "upgrade");

    let method = v1::Match {
        method: "G T".into(),
        ..Default::default()
    };
    assert_refused(with_match(method), ROUTE, &field("method"), "`G T`");

    let value = |name: &str, kind| v1::ValueMatch {
        name: name.into(),
        kind,
    };
    let exact = || Some(v1::value_match::Kind::Exact("1".into()));
    let regex = || Some(v1::value_match::Kind::Regex("[".into()));
    let headers = vec![value("a b", exact()), value("x", regex()), value("y", None)];
    let query = vec![value("q", regex())];
    let wire = with_match(v1::Match {
        headers,
        query,
        ..Default::default()
    });
    let fields = [
        "headers[0].name",
        "headers[1].regex",
        "headers[2]",
        "query[0].regex",
    ];
    assert_eq!(
        refused(wire),
        fields.map(|name| (ROUTE.to_owned(), field(name)))
    );
}

#[test]
fn filters_that_cannot_be_are_refused() {
    use v1::{
        filter::Kind::{Redirect, RequestHeaders, ResponseHeaders, Rewrite},
        path_modifier::Kind::{ReplaceFull, ReplacePrefix},
    };
    let pair = |name: &str, value: &str| {
        vec![v1::HeaderField {
            name: name.into(),
            value: value.into(),
        }]
    };
    let path = |kind| Some(v1::PathModifier { kind });
    for (kind, field, message) in [
        (
            RequestHeaders(v1::HeaderModifier {
                set: pair("Host", "x"),
                ..Default::default()
            }),
            "request_headers.set[0].name",
            "host name of a URL rewrite",
        ),
        (
            ResponseHeaders(v1::HeaderModifier {
                add: pair("Transfer-Encoding", "chunked"),
                ..Default::default()
            }),
            "response_headers.add[0].name",
            "belongs to the connection",
        ),
        (
            RequestHeaders(v1::HeaderModifier {
                remove: vec!["content-length".into()],
                ..Default::default()
            }),
            "request_headers.remove[0]",
            "belongs to the connection",
        ),
        (
            RequestHeaders(v1::HeaderModifier {
                add: pair("x", "a\r\nb: c"),
                ..Default::default()
            }),
            "request_headers.add[0].value",
            "control character",
        ),
        (
            Redirect(v1::Redirect {
                scheme: "ftp".into(),
                ..Default::default()
            }),
            "redirect.scheme",
            "http or https",
        ),
        (
            Redirect(v1::Redirect {
                hostname: "*.a.com".into(),
                ..Default::default()
            }),
            "redirect.hostname",
            "single name",
        ),
        (
            Redirect(v1::Redirect {
                port: 70_000,
                ..Default::default()
            }),
            "redirect.port",
            "1 to 65535",
        ),
        (
            Redirect(v1::Redirect {
                status: 200,
                ..Default::default()
            }),
            "redirect.status",
            "301, 302, 303, 307 or 308",
        ),
        (
            Rewrite(v1::UrlRewrite {
                hostname: "a:80".into(),
                ..Default::default()
            }),
            "rewrite.hostname",
            "no host name",
        ),
        (
            Rewrite(v1::UrlRewrite {
                path: path(Some(ReplaceFull("/a?b".into()))),
                ..Default::default()
            }),
            "rewrite.path.replace_full",
            "`?`",
        ),
        (
            Redirect(v1::Redirect {
                path: path(Some(ReplacePrefix("/a%2f".into()))),
                ..Default::default()
            }),
            "redirect.path.replace_prefix",
            "encoded",
        ),
        (
            Rewrite(v1::UrlRewrite {
                path: path(None),
                ..Default::default()
            }),
            "rewrite.path",
            "upgrade",
        ),
    ] {
        let field = format!("rules[0].filters[0].{field}");
        assert_refused(with_filter(kind.clone()), ROUTE, &field, message);
        // The filters of a backend are no different.
        let mut rule = rule("default/shop:80");
        rule.backends[0].filters = vec![v1::Filter { kind: Some(kind) }];
        let field = field.replace("rules[0].", "rules[0].backends[0].");
        assert_refused(with_rule(rule), ROUTE, &field, message);
    }
    let unknown = v1::Rule {
        filters: vec![v1::Filter { kind: None }],
        ..rule("default/shop:80")
    };
    assert_refused(with_rule(unknown), ROUTE, "rules[0].filters[0]", "upgrade");
}

#[test]
fn a_prefix_is_replaced_only_where_one_matches() {
    use v1::{filter::Kind::Rewrite, path_match::Kind, path_modifier::Kind::ReplacePrefix};
    let with = |paths: &[Option<Kind>]| {
        let matching = |kind: &Option<Kind>| v1::Match {
            path: kind.clone().map(|kind| v1::PathMatch { kind: Some(kind) }),
            ..Default::default()
        };
        let path = Some(v1::PathModifier {
            kind: Some(ReplacePrefix("new".into())),
        });
        let rewrite = Rewrite(v1::UrlRewrite {
            path,
            ..Default::default()
        });
        let mut wire = with_filter(rewrite);
        wire.routes[0].rules[0].matches = paths.iter().map(matching).collect();
        wire
    };
    let prefix = || Some(Kind::Prefix("/old".into()));
    for good in [&[][..], &[None], &[prefix(), prefix()], &[prefix(), None]] {
        assert!(Snapshot::try_from(with(good)).is_ok(), "{good:?}");
    }
    for other in [Kind::Exact("/a".into()), Kind::Regex("/a.*".into())] {
        let field = "rules[0].filters[0].rewrite.path.replace_prefix";
        assert_refused(
            with(&[prefix(), Some(other)]),
            ROUTE,
            field,
            "all by prefix",
        );
    }
}

#[test]
fn weights_of_zero_are_a_rule_that_serves_nobody() {
    let mut zero = rule("default/shop:80");
    zero.backends[0].weight = 0;
    let snapshot = Snapshot::try_from(with_rule(zero)).expect("a good snapshot");
    let listener = snapshot
        .listeners()
        .find(|listener| &*listener.id == HTTPS)
        .unwrap();
    let found = listener
        .routes
        .find("x", &Method::GET, "/", None, &HeaderMap::new());
    let backends = &found.expect("a rule").rule.backends;
    assert_eq!(backends.len(), 1);
    assert!(crate::balance::pick(backends, &mut rand::rng()).is_none());
}

#[test]
fn a_reference_that_does_not_resolve_keeps_its_share() {
    let mut wire = snapshot();
    wire.routes[0].rules[0].backends.push(v1::BackendRef {
        weight: 3,
        ..Default::default()
    });
    let snapshot = Snapshot::try_from(wire).expect("a good snapshot");
    let listener = snapshot
        .listeners()
        .find(|listener| &*listener.id == HTTPS)
        .unwrap();
    let found = listener
        .routes
        .find("x", &Method::GET, "/", None, &HeaderMap::new());
    let backends = &found.expect("a rule").rule.backends;
    assert!(backends[0].backend.is_some() && backends[1].backend.is_none());
    assert_eq!(backends[1].weight, 3);
}

#[test]
fn timeouts_of_zero_are_off() {
    for (wire, expected) in [
        (None, Ok(None)),
        (Some(0), Ok(None)),
        (Some(1_500), Ok(Some(Duration::from_millis(1_500)))),
        (Some(u64::MAX), Err(())),
    ] {
        let rule = v1::Rule {
            request_timeout_ms: wire,
            backend_request_timeout_ms: wire,
            ..rule("default/shop:80")
        };
        let Ok(snapshot) = Snapshot::try_from(with_rule(rule.clone())) else {
            assert_eq!(expected, Err(()));
            let fields = [
                "rules[0].request_timeout_ms",
                "rules[0].backend_request_timeout_ms",
            ];
            assert_eq!(
                refused(with_rule(rule)),
                fields.map(|field| (ROUTE.into(), field.into()))
            );
            continue;
        };
        let listener = snapshot
            .listeners()
            .find(|listener| &*listener.id == HTTPS)
            .unwrap();
        let found = listener
            .routes
            .find("x", &Method::GET, "/", None, &HeaderMap::new());
        let rule = found.expect("a rule").rule;
        assert_eq!(Ok(rule.request_timeout), expected);
        assert_eq!(Ok(rule.backend_request_timeout), expected);
    }
}
