//! `matches[]` of a rule.

use super::{
    at::At,
    form::{Form, HEADER_VALUE, PATH, PATH_TEXT, QUERY_VALUE, TOKEN},
};
use crate::translate::METHODS;

pub(super) fn check(at: &At<'_>) {
    if let Some(path) = at.field("path") {
        path.one_of("type", &["Exact", "PathPrefix", "RegularExpression"]);
        let form = match path.text("type") {
            None | Some("Exact" | "PathPrefix") => &PATH,
            Some(_) => &PATH_TEXT,
        };
        path.form("value", form);
    }
    values(at, "headers", &HEADER_VALUE);
    values(at, "queryParams", &QUERY_VALUE);
    at.one_of("method", &METHODS);
}

pub(super) fn values(at: &At<'_>, list: &str, form: &Form) {
    for one in at.items(list) {
        one.one_of("type", &["Exact", "RegularExpression"]);
        one.form("name", &TOKEN);
        one.form("value", form);
    }
    at.unique(list, "name");
}
