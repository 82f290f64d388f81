use http::{HeaderName, Request};

use super::*;

fn parts(uri: &str) -> Parts {
    let request = Request::get(uri)
        .header("x-keep", "1")
        .header("x-old", "old");
    request.body(()).expect("a request").into_parts().0
}

fn context(scheme: Scheme, port: u16) -> Context<'static> {
    Context {
        scheme,
        host: "example.com",
        port,
        matched_prefix: None,
    }
}

fn redirect() -> Redirect {
    Redirect {
        scheme: None,
        hostname: None,
        path: None,
        port: None,
        status: StatusCode::FOUND,
    }
}

fn location(redirect: Redirect, uri: &str, context: &Context<'_>) -> String {
    let answer = request(&[Filter::Redirect(redirect)], &mut parts(uri), context);
    let answer = answer.expect("a redirect");
    answer.headers()["location"]
        .to_str()
        .expect("text")
        .to_owned()
}

fn modifier(
    set: &[(&'static str, &'static str)],
    add: &[(&'static str, &'static str)],
    remove: &[&'static str],
) -> HeaderModifier {
    let pairs = |pairs: &[(&'static str, &'static str)]| {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        pairs.iter().map(pair).collect()
    };
    HeaderModifier {
        set: pairs(set),
        add: pairs(add),
        remove: remove
            .iter()
            .map(|name| HeaderName::from_static(name))
            .collect(),
    }
}

#[test]
fn the_port_of_a_redirect_is_as_the_gateway_api_says() {
    use Scheme::{Http, Https};
    for (scheme, listener, to_scheme, to_port, expected) in [
        (Http, 80, None, None, "http://example.com/a"),
        (Http, 80, None, Some(80), "http://example.com/a"),
        (Http, 80, None, Some(8080), "http://example.com:8080/a"),
        (Http, 80, Some(Https), None, "https://example.com/a"),
        (Http, 80, Some(Https), Some(443), "https://example.com/a"),
        (
            Http,
            80,
            Some(Https),
            Some(8443),
            "https://example.com:8443/a",
        ),
        (Http, 8080, None, None, "http://example.com:8080/a"),
        (Http, 8080, None, Some(80), "http://example.com/a"),
        (Http, 8080, Some(Https), None, "https://example.com/a"),
        (Http, 8080, Some(Http), None, "http://example.com/a"),
        (Https, 443, None, None, "https://example.com/a"),
        (Https, 443, None, Some(443), "https://example.com/a"),
        (Https, 443, Some(Http), None, "http://example.com/a"),
        (Https, 443, Some(Http), Some(80), "http://example.com/a"),
        (
            Https,
            443,
            Some(Http),
            Some(8080),
            "http://example.com:8080/a",
        ),
        (Https, 8443, None, None, "https://example.com:8443/a"),
        (Https, 8443, None, Some(443), "https://example.com/a"),
    ] {
        let redirect = Redirect {
            scheme: to_scheme,
            port: to_port,
            ..redirect()
        };
        let found = location(redirect, "/a", &context(scheme, listener));
        assert_eq!(
            found, expected,
            "{scheme} {listener} {to_scheme:?} {to_port:?}"
        );
    }
}

#[test]
fn a_redirect_changes_what_it_says_and_keeps_the_rest() {
    let prefix = |replacement: &str| Some(PathModifier::ReplacePrefix(replacement.into()));
    let context = Context {
        matched_prefix: Some("/old"),
        ..context(Scheme::Https, 443)
    };
    for (change, uri, expected) in [
        (redirect(), "/old/a?b=c", "https://example.com/old/a?b=c"),
        (
            Redirect {
                hostname: Some("other.org".into()),
                ..redirect()
            },
            "/old/a?b",
            "https://other.org/old/a?b",
        ),
        (
            Redirect {
                path: prefix("/new"),
                ..redirect()
            },
            "/old/a?b=c",
            "https://example.com/new/a?b=c",
        ),
        (
            Redirect {
                path: prefix(""),
                ..redirect()
            },
            "/old",
            "https://example.com/",
        ),
        (
            Redirect {
                path: Some(PathModifier::ReplaceFull("/one".into())),
                ..redirect()
            },
            "https://example.com:8443/old/a?b=c",
            "https://example.com/one?b=c",
        ),
    ] {
        assert_eq!(location(change, uri, &context), expected);
    }
}

#[test]
fn a_redirect_has_its_status_and_ends_the_filters() {
    let mut parts = parts("/a");
    let filters = [
        Filter::RequestHeaders(modifier(&[("x-one", "1")], &[], &[])),
        Filter::Redirect(Redirect {
            status: StatusCode::PERMANENT_REDIRECT,
            ..redirect()
        }),
        Filter::RequestHeaders(modifier(&[("x-two", "2")], &[], &[])),
    ];
    let answer = request(&filters, &mut parts, &context(Scheme::Http, 80));
    assert_eq!(
        answer.expect("a redirect").status(),
        StatusCode::PERMANENT_REDIRECT
    );
    assert!(parts.headers.contains_key("x-one") && !parts.headers.contains_key("x-two"));
}

#[test]
fn fields_are_set_then_added_then_removed() {
    let mut parts = parts("/");
    parts
        .headers
        .append("x-many", HeaderValue::from_static("a"));
    parts
        .headers
        .append("x-many", HeaderValue::from_static("b"));
    let change = modifier(
        &[("x-many", "one"), ("x-new", "1")],
        &[("x-new", "2"), ("x-keep", "2"), ("x-gone", "1")],
        &["x-old", "x-gone", "x-absent"],
    );
    // What concerns responses leaves requests alone, and the other way about.
    let other = modifier(&[("x-other", "1")], &[], &["x-keep"]);
    let filters = [
        Filter::RequestHeaders(change.clone()),
        Filter::ResponseHeaders(other.clone()),
    ];
    assert!(request(&filters, &mut parts, &context(Scheme::Http, 80)).is_none());
    let values = |name: &str| {
        let lines = parts.headers.get_all(name).iter();
        lines
            .map(|line| line.to_str().expect("text"))
            .collect::<Vec<_>>()
    };
    assert_eq!(values("x-many"), ["one"]);
    assert_eq!(values("x-new"), ["1", "2"]);
    assert_eq!(values("x-keep"), ["1", "2"]);
    for absent in ["x-old", "x-gone", "x-absent", "x-other"] {
        assert!(values(absent).is_empty(), "{absent}");
    }

    let mut headers = HeaderMap::new();
    headers.insert("x-keep", HeaderValue::from_static("1"));
    response(
        &[
            Filter::ResponseHeaders(other),
            Filter::RequestHeaders(change),
        ],
        &mut headers,
    );
    assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-other"]);
}

#[test]
fn a_rewrite_changes_host_and_path_and_keeps_the_query() {
    let rewrite = |hostname: Option<&'static str>, path: Option<PathModifier>| {
        Filter::Rewrite(Rewrite {
            hostname: hostname.map(Authority::from_static),
            path,
        })
    };
    let full = || Some(PathModifier::ReplaceFull("/one".into()));
    let prefix = || Some(PathModifier::ReplacePrefix("/new".into()));
    for (filter, uri, expected, host) in [
        (rewrite(None, None), "/old/a?b", "/old/a?b", None),
        (rewrite(None, full()), "/old/a?b=c", "/one?b=c", None),
        (rewrite(None, full()), "/old/a", "/one", None),
        (rewrite(None, prefix()), "/old/a?b=c", "/new/a?b=c", None),
        (
            rewrite(Some("in.side"), None),
            "/old/a",
            "/old/a",
            Some("in.side"),
        ),
        (
            rewrite(Some("in.side"), prefix()),
            "https://example.com/old?b",
            "https://in.side/new?b",
            Some("in.side"),
        ),
    ] {
        let mut parts = parts(uri);
        let context = Context {
            matched_prefix: Some("/old"),
            ..context(Scheme::Https, 443)
        };
        assert!(request(&[filter], &mut parts, &context).is_none());
        assert_eq!(parts.uri.to_string(), expected);
        assert_eq!(
            parts.headers.get(HOST).map(|host| host.to_str().unwrap()),
            host
        );
    }
}

#[test]
fn fields_of_the_connection_and_the_host_cannot_be_named() {
    for name in [
        "Host",
        "host",
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "Transfer-Encoding",
        "transfer-encoding",
        "TE",
        "Trailer",
        "Upgrade",
        "Content-Length",
        "HTTP2-Settings",
    ] {
        let error = field_name(name).expect_err(name);
        assert!(error.contains("cannot be changed"), "{error}");
    }
    for name in ["", "a b", ":authority", "x\r\n", "é", "x:"] {
        assert!(field_name(name).is_err(), "{name:?}");
    }
    for name in ["X-Header", "authorization", "cookie", "alt-svc"] {
        assert_eq!(
            field_name(name).as_ref().map(HeaderName::as_str),
            Ok(&*name.to_lowercase())
        );
    }
}

#[test]
fn a_host_that_is_no_field_value_gets_no_location() {
    let context = Context {
        host: "a\u{7f}",
        ..context(Scheme::Http, 80)
    };
    let answer = request(&[Filter::Redirect(redirect())], &mut parts("/"), &context);
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(answer.headers().is_empty());
}
