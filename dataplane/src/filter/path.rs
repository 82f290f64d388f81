//! Replacing a path, or the prefix that a route matched.

use std::borrow::Cow;

/// A replacement in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathModifier {
    ReplaceFull(Box<str>),
    /// In place of the matched prefix. Empty or `/` removes it.
    ReplacePrefix(Box<str>),
}

impl PathModifier {
    /// The path to use. Unchanged where a prefix is to be replaced and none matched, which
    /// no snapshot allows.
    pub(super) fn apply<'a>(&'a self, path: &'a str, matched_prefix: Option<&str>) -> Cow<'a, str> {
        match self {
            Self::ReplaceFull(full) => Cow::Borrowed(full),
            Self::ReplacePrefix(replacement) => {
                let prefix = matched_prefix.map(|prefix| prefix.trim_end_matches('/'));
                let Some(rest) = prefix.and_then(|prefix| path.strip_prefix(prefix)) else {
                    return Cow::Borrowed(path);
                };
                match (rest, replacement.trim_end_matches('/')) {
                    ("", "") => Cow::Borrowed("/"),
                    ("", _) => Cow::Borrowed(replacement),
                    (rest, "") => Cow::Borrowed(rest),
                    (rest, start) => Cow::Owned(format!("{start}{rest}")),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_replaced_as_the_gateway_api_says() {
        for (path, prefix, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/bar", "/", "/xyz", "/xyz/foo/bar"),
            ("/", "/", "/xyz", "/xyz/"),
            ("/", "/", "", "/"),
            ("/foo/bar/baz", "/foo/bar", "/x/y", "/x/y/baz"),
        ] {
            let modifier = PathModifier::ReplacePrefix(replacement.into());
            let found = modifier.apply(path, Some(prefix));
            assert_eq!(found, expected, "{path} {prefix} {replacement}");
        }
    }

    #[test]
    fn a_full_replacement_ignores_what_matched() {
        let modifier = PathModifier::ReplaceFull("/one".into());
        assert_eq!(modifier.apply("/foo/bar", Some("/foo")), "/one");
        assert_eq!(modifier.apply("/", None), "/one");
    }

    #[test]
    fn a_path_that_lost_the_prefix_stays() {
        let modifier = PathModifier::ReplacePrefix("/xyz".into());
        assert_eq!(modifier.apply("/other", Some("/foo")), "/other");
        assert_eq!(modifier.apply("/other", None), "/other");
    }
}
