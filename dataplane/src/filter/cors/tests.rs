use super::*;

fn cors(origins: &[&str], methods: Names, headers: Names, credentials: bool) -> Cors {
    let origins = origins.iter().map(|text| OriginPattern::parse(text));
    Cors {
        origins: origins.collect::<Result<_, _>>().expect("origins"),
        credentials,
        methods,
        headers,
        exposed: listed("x-header-3, x-header-4"),
        max_age: HeaderValue::from(3600),
    }
}

fn listed(names: &'static str) -> Names {
    Names::Listed((!names.is_empty()).then(|| HeaderValue::from_static(names)))
}

fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = lines.iter().map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    });
    pairs.collect()
}

/// The fields of the answer to a preflight.
fn preflighted(cors: &Cors, lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let verdict = cors.judge(&Method::OPTIONS, &fields(lines));
    let mut answer = verdict.answer().expect("an answer");
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    verdict.apply(answer.headers_mut());
    answer.into_parts().0.headers
}

#[track_caller]
fn has(headers: &HeaderMap, expected: &[(&str, Option<&str>)]) {
    for (name, value) in expected {
        let name = format!("access-control-{name}");
        let found = headers
            .get(&name)
            .map(|value| value.to_str().expect("text"));
        assert_eq!(found, *value, "{name}");
    }
}

#[test]
fn a_preflight_of_an_allowed_origin_is_told_everything() {
    let cors = cors(
        &["https://www.foo.com", "https://*.bar.com"],
        listed("GET, OPTIONS"),
        listed("x-header-1, x-header-2"),
        true,
    );
    for origin in [
        "https://www.foo.com",
        "https://www.bar.com",
        "https://xpto.www.bar.com",
    ] {
        let headers = preflighted(
            &cors,
            &[
                ("origin", origin),
                ("access-control-request-method", "GET"),
                ("access-control-request-headers", "x-header-1, x-header-2"),
            ],
        );
        has(
            &headers,
            &[
                ("allow-origin", Some(origin)),
                ("allow-methods", Some("GET, OPTIONS")),
                ("allow-headers", Some("x-header-1, x-header-2")),
                ("expose-headers", Some("x-header-3, x-header-4")),
                ("max-age", Some("3600")),
                ("allow-credentials", Some("true")),
            ],
        );
        assert_eq!(headers[header::VARY], "Origin");
    }
}

#[test]
fn a_preflight_of_another_origin_is_told_nothing() {
    let cors = cors(
        &["https://www.foo.com", "https://*.bar.com"],
        Names::Any,
        Names::Any,
        true,
    );
    for origin in [
        "https://foobar.com",
        "http://www.foo.com",
        "https://www.foo.com:8443",
        "https://bar.com",
        "https://.bar.com.evil.example",
        "https://evilbar.com",
        "null",
    ] {
        let lines = [("origin", origin), ("access-control-request-method", "GET")];
        let headers = preflighted(&cors, &lines);
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["vary"], "{origin}");
    }
}

#[test]
fn a_wildcard_is_literal_only_without_credentials() {
    let lines = [
        ("origin", "https://other.foo.com:12345"),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "x-header-1, x-header-2"),
    ];
    let mut open = cors(&["*"], Names::Any, Names::Any, false);
    open.exposed = Names::Any;
    let headers = preflighted(&open, &lines);
    has(
        &headers,
        &[
            ("allow-origin", Some("*")),
            ("allow-methods", Some("*")),
            ("allow-headers", Some("*")),
            ("expose-headers", Some("*")),
            ("allow-credentials", None),
        ],
    );
    assert!(!headers.contains_key(header::VARY));
    open.credentials = true;
    has(
        &preflighted(&open, &lines),
        &[
            ("allow-origin", Some("https://other.foo.com:12345")),
            ("allow-methods", Some("PUT")),
            ("allow-headers", Some("x-header-1, x-header-2")),
            ("expose-headers", None),
            ("allow-credentials", Some("true")),
        ],
    );
    has(&preflighted(&open, &lines[..2]), &[("allow-headers", None)]);
}

#[test]
fn what_the_upstream_says_of_cors_is_replaced() {
    let cors = cors(&["https://www.foo.com"], Names::Any, listed(""), false);
    for (origin, allowed) in [
        (Some("https://www.foo.com"), Some("https://www.foo.com")),
        (Some("https://foobar.com"), None),
        (None, None),
    ] {
        let request = match origin {
            Some(origin) => fields(&[("origin", origin)]),
            None => HeaderMap::new(),
        };
        let verdict = cors.judge(&Method::GET, &request);
        assert!(verdict.answer().is_none());
        let mut response = fields(&[
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("access-control-max-age", "1"),
            ("vary", "Accept, origin"),
        ]);
        verdict.apply(&mut response);
        has(
            &response,
            &[
                ("allow-origin", allowed),
                ("allow-credentials", None),
                ("max-age", None),
            ],
        );
        assert_eq!(response.get_all(header::VARY).iter().count(), 1);
    }
}

#[test]
fn options_without_the_fields_of_a_preflight_is_a_request_like_others() {
    let cors = cors(&["*"], Names::Any, Names::Any, false);
    for lines in [
        &[("origin", "https://www.foo.com")][..],
        &[("access-control-request-method", "GET")][..],
    ] {
        let verdict = cors.judge(&Method::OPTIONS, &fields(lines));
        assert!(verdict.answer().is_none(), "{lines:?}");
    }
}

#[test]
fn ports_are_compared_with_the_schemes_default() {
    for (pattern, origin, allowed) in [
        ("https://a.example", "https://a.example:443", true),
        ("https://a.example:443", "https://A.example", true),
        ("http://a.example:8080", "http://a.example:8080", true),
        ("http://a.example:8080", "http://a.example", false),
        ("https://*", "https://anything.example", true),
        ("https://*:8443", "https://anything.example", false),
        ("https://*", "http://anything.example", false),
    ] {
        let cors = cors(&[pattern], Names::Any, Names::Any, false);
        let origin_value = HeaderValue::from_static(origin);
        assert_eq!(cors.allows(&origin_value), allowed, "{pattern} {origin}");
    }
}

#[test]
fn patterns_that_are_no_origins_are_refused() {
    for text in [
        "",
        "www.foo.com",
        "ftp://www.foo.com",
        "https://",
        "https://www.*.com",
        "https://*foo.com",
        "https://a.example/path",
        "https://a.example:port",
    ] {
        assert!(OriginPattern::parse(text).is_err(), "{text}");
    }
}
