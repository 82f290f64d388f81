//! `spec` of an HTTPRoute.

use super::{
    at::At,
    filter,
    form::{DURATION, HOSTNAME, SECTION},
    matches, reference,
};
use crate::translate::parse_duration;

pub(super) fn check(at: &At<'_>) {
    let Some(spec) = at.field("spec") else { return };
    reference::parents(&spec);
    for hostname in spec.items("hostnames") {
        hostname.own_form(&HOSTNAME);
    }
    spec.not_empty("rules");
    for rule in spec.items("rules") {
        check_rule(&rule);
    }
}

fn check_rule(rule: &At<'_>) {
    rule.form("name", &SECTION);
    for one in rule.items("matches") {
        matches::check(&one);
    }
    filter::check_list(rule, &filter::HTTP);
    let backends = rule.items("backendRefs");
    for backend in &backends {
        reference::backend(backend);
        backend.range("weight", 0..=1_000_000);
        filter::check_list(backend, &filter::HTTP);
    }
    let filters = rule.items("filters");
    if !backends.is_empty() && filters.iter().any(|filter| filter.has("requestRedirect")) {
        rule.refuse(
            "backendRefs",
            "nothing reaches them beside a RequestRedirect",
            "remove either",
        );
    }
    for list in std::iter::once(filters).chain(backends.iter().map(|one| one.items("filters"))) {
        check_prefixes(rule, &list);
    }
    if let Some(timeouts) = rule.field("timeouts") {
        check_timeouts(&timeouts);
    }
    if let Some(retry) = rule.field("retry") {
        check_retry(&retry);
    }
}

fn check_retry(retry: &At<'_>) {
    for code in retry.items("codes") {
        code.own_range(400..=599);
    }
    retry.range("attempts", 1..=i64::from(i32::MAX));
    retry.form("backoff", &DURATION);
}

/// A prefix can be replaced only where it is clear which one matched.
fn check_prefixes(rule: &At<'_>, filters: &[At<'_>]) {
    let one_prefix = || {
        let matches = rule.items("matches");
        // A misspelt type is refused already, and most likely meant this one.
        let is_prefix = |one: &At<'_>| {
            let path = one.field("path");
            path.and_then(|path| path.text("type"))
                .is_none_or(|type_| !["Exact", "RegularExpression"].contains(&type_))
        };
        // Absent: the prefix `/`.
        !rule.has("matches") || (matches.len() == 1 && matches.iter().all(is_prefix))
    };
    for filter in filters {
        for member in ["requestRedirect", "urlRewrite"] {
            let path = filter.field(member).and_then(|member| member.field("path"));
            let Some(path) = path.filter(|path| path.has("replacePrefixMatch")) else {
                continue;
            };
            if path.text("type") == Some("ReplacePrefixMatch") && !one_prefix() {
                path.refuse(
                    "replacePrefixMatch",
                    "replaces the prefix that matched, and the rule has not exactly one",
                    "give the rule one match, of the path type PathPrefix",
                );
            }
        }
    }
}

fn check_timeouts(timeouts: &At<'_>) {
    timeouts.form("request", &DURATION);
    timeouts.form("backendRequest", &DURATION);
    let read = |name: &str| {
        timeouts
            .text(name)
            .and_then(|text| parse_duration(text).ok())
    };
    if let (Some(request), Some(backend)) = (read("request"), read("backendRequest"))
        && request > 0
        && backend > request
    {
        timeouts.refuse(
            "backendRequest",
            "is longer than the time-out of the whole request",
            "write a shorter one, or a longer request",
        );
    }
}
