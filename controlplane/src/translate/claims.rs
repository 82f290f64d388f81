//! Which kind of route has which host names at a listener.
//!
//! HTTPRoutes and GRPCRoutes are not merged: where two of them meet at a listener in some
//! host name, the older one has the listener and the other is not attached there.

use std::collections::{BTreeMap, BTreeSet};

use super::route_form::RouteKind;

/// What has been claimed so far, by listener and kind.
#[derive(Default)]
pub(super) struct Claims(BTreeMap<String, BTreeMap<RouteKind, Names>>);

/// Host names, as patterns, with who was first to have each. Keys are spelled backwards,
/// so that what a wildcard covers stands together.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl Claims {
    /// The route of another kind that has one of these names at a listener.
    pub(super) fn holder(
        &self,
        listener: &str,
        kind: RouteKind,
        names: &BTreeSet<String>,
    ) -> Option<&str> {
        let kinds = self.0.get(listener)?.iter();
        let mut others = kinds.filter(|(other, _)| **other != kind);
        others.find_map(|(_, taken)| names.iter().find_map(|name| taken.holder(name)))
    }

    /// Keeps other kinds of routes from these names at a listener.
    pub(super) fn claim(
        &mut self,
        listener: &str,
        kind: RouteKind,
        names: &BTreeSet<String>,
        route: &str,
    ) {
        let kinds = self.0.entry(listener.to_owned()).or_default();
        let own = &mut kinds.entry(kind).or_default().0;
        for name in names {
            own.entry(backwards(name))
                .or_insert_with(|| route.to_owned());
        }
    }
}

impl Names {
    /// Who has a name that `pattern` stands for, too.
    fn holder(&self, pattern: &str) -> Option<&str> {
        let covering = pattern
            .match_indices('.')
            .map(|(at, _)| format!("*{}", &pattern[at..]));
        let mut covering = covering.chain(["*".to_owned(), pattern.to_owned()]);
        let covered = || {
            let prefix = backwards(pattern.strip_prefix('*')?);
            let (key, holder) = self.0.range(prefix.clone()..).next()?;
            key.starts_with(&prefix).then_some(holder)
        };
        covering
            .find_map(|name| self.0.get(&backwards(&name)))
            .or_else(covered)
            .map(String::as_str)
    }
}

fn backwards(name: &str) -> String {
    name.chars().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_meet_where_their_host_names_overlap() {
        for (http, grpc, meet) in [
            ("a.example", "a.example", true),
            ("a.example", "b.example", false),
            ("*.example", "a.example", true),
            ("a.example", "*.example", true),
            ("a.b.example", "*.example", true),
            ("*.example", "a.b.example", true),
            ("*.b.example", "*.example", true),
            ("*.example", "*.b.example", true),
            ("*.example", "example", false),
            ("example", "*.example", false),
            ("aexample", "*.example", false),
            ("*.a.example", "*.b.example", false),
            ("*", "a.example", true),
            ("a.example", "*", true),
            ("*", "*", true),
            ("*", "*.example", true),
        ] {
            let mut claims = Claims::default();
            let names = |name: &str| BTreeSet::from([name.to_owned()]);
            claims.claim("one", RouteKind::Http, &names(http), "HTTPRoute a/b");
            let holder = claims.holder("one", RouteKind::Grpc, &names(grpc));
            assert_eq!(holder, meet.then_some("HTTPRoute a/b"), "{http} {grpc}");
            let elsewhere = claims.holder("other", RouteKind::Grpc, &names(grpc));
            assert_eq!(elsewhere, None, "{http} {grpc}");
            let own = claims.holder("one", RouteKind::Http, &names(http));
            assert_eq!(own, None, "{http} {grpc}");
        }
    }
}
