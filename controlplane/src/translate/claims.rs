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
    /// Claims names at a listener, or tells the route of another kind that has one of them.
    pub(super) fn claim(
        &mut self,
        listener: &str,
        kind: RouteKind,
        names: &BTreeSet<String>,
        route: &str,
    ) -> Result<(), String> {
        let kinds = self.0.entry(listener.to_owned()).or_default();
        let others = kinds.iter().filter(|(other, _)| **other != kind);
        for (_, taken) in others {
            if let Some(holder) = names.iter().find_map(|name| taken.holder(name)) {
                return Err(holder.to_owned());
            }
        }
        let own = &mut kinds.entry(kind).or_default().0;
        for name in names {
            own.entry(backwards(name))
                .or_insert_with(|| route.to_owned());
        }
        Ok(())
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
            assert_eq!(
                claims.claim("one", RouteKind::Http, &names(http), "HTTPRoute"),
                Ok(())
            );
            let other = claims.claim("other", RouteKind::Grpc, &names(grpc), "GRPCRoute");
            assert_eq!(other, Ok(()), "{http} {grpc}");
            let second = claims.claim("one", RouteKind::Grpc, &names(grpc), "GRPCRoute");
            assert_eq!(second.is_err(), meet, "{http} {grpc}");
            let same = claims.claim("one", RouteKind::Http, &names(http), "HTTPRoute");
            assert_eq!(same, Ok(()));
        }
    }
}
