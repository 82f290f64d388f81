//! `filters[]` of a route's rule or of a backend.
//!
//! Filters that Tidegate does not have are checked too: the schema knows them.

use std::collections::BTreeSet;

use super::{
    at::At,
    form::{HEADER_VALUE, ORIGIN, PATH_TEXT, PRECISE_HOSTNAME, TOKEN},
    reference,
};
use crate::translate::METHODS;

/// Types of filters that a kind of route has, each with the field of its settings.
pub(super) type Members = [(&'static str, &'static str)];

/// The filters of what is at `at`.
pub(super) fn check_list(at: &At<'_>, members: &Members) {
    let filters = at.items("filters");
    let mut seen = BTreeSet::new();
    for filter in &filters {
        check(filter, members);
        let type_ = filter.text("type").unwrap_or_default();
        if ONCE.contains(&type_) && !seen.insert(type_) {
            let message = format!("{type_} is there twice");
            filter.refuse("type", message, "put the two into one");
        }
    }
    if seen.contains("RequestRedirect") && seen.contains("URLRewrite") {
        at.refuse(
            "filters",
            "RequestRedirect and URLRewrite exclude each other",
            "remove one of them",
        );
    }
}

fn check(at: &At<'_>, members: &Members) {
    let words: Vec<_> = members.iter().map(|(word, _)| *word).collect();
    at.one_of("type", &words);
    if at.text("type").is_some_and(|type_| words.contains(&type_)) {
        at.union(members);
    }
    for member in ["requestHeaderModifier", "responseHeaderModifier"] {
        if let Some(modifier) = at.field(member) {
            headers(&modifier);
        }
    }
    if let Some(redirect) = at.field("requestRedirect") {
        redirect.one_of("scheme", &["http", "https"]);
        redirect.form("hostname", &PRECISE_HOSTNAME);
        redirect.port("port");
        path(&redirect);
        if let Some(code) = redirect.number("statusCode")
            && !REDIRECTS.contains(&code)
        {
            let codes = REDIRECTS.map(|code| code.to_string()).join(", ");
            let message = format!("{code} is no status of a redirect");
            redirect.refuse("statusCode", message, format!("write one of {codes}"));
        }
    }
    if let Some(rewrite) = at.field("urlRewrite") {
        rewrite.form("hostname", &PRECISE_HOSTNAME);
        path(&rewrite);
    }
    if let Some(mirror) = at.field("requestMirror") {
        check_mirror(&mirror);
    }
    if let Some(cors) = at.field("cors") {
        check_cors(&cors);
    }
    if let Some(extension) = at.field("extensionRef") {
        reference::required(&extension, &["group", "kind", "name"]);
    }
}

fn headers(at: &At<'_>) {
    for list in ["set", "add"] {
        for header in at.items(list) {
            header.form("name", &TOKEN);
            header.form("value", &HEADER_VALUE);
        }
        at.unique(list, "name");
    }
}

fn path(at: &At<'_>) {
    let Some(path) = at.field("path") else { return };
    path.one_of("type", &["ReplaceFullPath", "ReplacePrefixMatch"]);
    let members = [
        ("ReplaceFullPath", "replaceFullPath"),
        ("ReplacePrefixMatch", "replacePrefixMatch"),
    ];
    if members
        .iter()
        .any(|(word, _)| path.text("type") == Some(word))
    {
        path.union(&members);
    }
    for (_, member) in members {
        path.form(member, &PATH_TEXT);
    }
}

fn check_mirror(at: &At<'_>) {
    if let Some(backend) = at.field("backendRef") {
        reference::backend(&backend);
    }
    at.range("percent", 0..=100);
    if let Some(fraction) = at.field("fraction") {
        let denominator = fraction.number("denominator").unwrap_or(100);
        fraction.range("denominator", 1..=i64::from(i32::MAX));
        fraction.range("numerator", 0..=denominator.max(0));
        if at.has("percent") {
            at.refuse("fraction", "is there beside percent", "remove one of them");
        }
    }
}

fn check_cors(at: &At<'_>) {
    for origin in at.items("allowOrigins") {
        origin.own_form(&ORIGIN);
    }
    for method in at.items("allowMethods") {
        if let Some(text) = method.own_text()
            && text != "*"
            && !METHODS.contains(&text)
        {
            let message = format!("`{}` is no method", super::at::shown(text));
            method.refuse("", message, format!("write *, or {}", METHODS.join(", ")));
        }
    }
    for list in ["allowHeaders", "exposeHeaders"] {
        for header in at.items(list) {
            header.own_form(&TOKEN);
        }
    }
    for list in ["allowMethods", "allowHeaders", "allowOrigins"] {
        let items = at.items(list);
        if items.len() > 1 && items.iter().any(|item| item.own_text() == Some("*")) {
            at.refuse(list, "has `*` beside others", "keep the `*`, or the others");
        }
    }
    at.range("maxAge", 1..=i64::from(i32::MAX));
}

/// Of an HTTPRoute. The last is experimental.
pub(super) const HTTP: [(&str, &str); 8] = [
    ("RequestHeaderModifier", "requestHeaderModifier"),
    ("ResponseHeaderModifier", "responseHeaderModifier"),
    ("RequestMirror", "requestMirror"),
    ("RequestRedirect", "requestRedirect"),
    ("URLRewrite", "urlRewrite"),
    ("ExtensionRef", "extensionRef"),
    ("CORS", "cors"),
    ("ExternalAuth", "externalAuth"),
];

/// Of a GRPCRoute.
pub(super) const GRPC: [(&str, &str); 4] = [
    ("RequestHeaderModifier", "requestHeaderModifier"),
    ("ResponseHeaderModifier", "responseHeaderModifier"),
    ("RequestMirror", "requestMirror"),
    ("ExtensionRef", "extensionRef"),
];

/// Types of which a list may have one.
const ONCE: [&str; 5] = [
    "RequestHeaderModifier",
    "ResponseHeaderModifier",
    "RequestRedirect",
    "URLRewrite",
    "CORS",
];

const REDIRECTS: [i64; 5] = [301, 302, 303, 307, 308];
