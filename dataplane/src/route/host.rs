//! Host names as listeners and routes have them, and finding the most specific one.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use rustc_hash::FxHashMap;

/// The longest host name (RFC 1035 2.3.4). It bounds the work of a lookup too.
const LONGEST_NAME: usize = 253;

/// Which host names are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    Any,
    /// Lower case.
    Exact(Arc<str>),
    /// Every name with one or more labels before this suffix, which has its leading dot.
    Wildcard(Arc<str>),
}

/// A text that is no [`HostPattern`], with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no host name; give one as www.example.com or *.example.com, in ASCII")]
pub struct InvalidHost(String);

/// The form in which host names are compared: lower case, without the dot at the end. Give
/// it without the port.
pub fn canonical_host(host: &str) -> Cow<'_, str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

impl HostPattern {
    /// `host` as [`canonical_host`] gives it.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => **name == *host,
            Self::Wildcard(suffix) => {
                (suffix.len() + 1..=LONGEST_NAME).contains(&host.len()) && host.ends_with(&**suffix)
            }
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*{suffix}"),
        }
    }
}

impl FromStr for HostPattern {
    type Err = InvalidHost;

    /// Empty and `*` are any.
    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        if matches!(text, "" | "*") {
            return Ok(Self::Any);
        }
        let canonical = canonical_host(text);
        let name = canonical.strip_prefix("*.").unwrap_or(&canonical);
        if name.len() > LONGEST_NAME || !name.split('.').all(is_label) {
            return Err(InvalidHost(text.to_owned()));
        }
        Ok(match canonical.strip_prefix('*') {
            Some(suffix) => Self::Wildcard(suffix.into()),
            None => Self::Exact(name.into()),
        })
    }
}

fn is_label(label: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=63).contains(&label.len())
        && label.bytes().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Values by host pattern. What is in it comes from the configuration, and clients only look
/// up: so the hash may be a cheap one.
#[derive(Debug)]
pub(crate) struct HostMap<T> {
    exact: FxHashMap<Arc<str>, T>,
    wildcard: FxHashMap<Arc<str>, T>,
    any: Option<T>,
}

// Not derived: that would ask for `T: Default`.
impl<T> Default for HostMap<T> {
    fn default() -> Self {
        Self {
            exact: FxHashMap::default(),
            wildcard: FxHashMap::default(),
            any: None,
        }
    }
}

impl<T> HostMap<T> {
    /// The value that was there before.
    pub(crate) fn insert(&mut self, pattern: &HostPattern, value: T) -> Option<T> {
        match pattern {
            HostPattern::Any => self.any.replace(value),
            HostPattern::Exact(name) => self.exact.insert(name.clone(), value),
            HostPattern::Wildcard(suffix) => self.wildcard.insert(suffix.clone(), value),
        }
    }

    pub(crate) fn entry(&mut self, pattern: &HostPattern) -> &mut T
    where
        T: Default,
    {
        match pattern {
            HostPattern::Any => self.any.get_or_insert_default(),
            HostPattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
            HostPattern::Wildcard(suffix) => self.wildcard.entry(suffix.clone()).or_default(),
        }
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.exact
            .values_mut()
            .chain(self.wildcard.values_mut())
            .chain(&mut self.any)
    }

    /// The values of every pattern that has this canonical host, the most specific first.
    pub(crate) fn levels<'t, 'h>(
        &'t self,
        host: &'h str,
    ) -> impl Iterator<Item = &'t T> + use<'t, 'h, T> {
        let name = if host.len() > LONGEST_NAME { "" } else { host };
        let wild = if self.wildcard.is_empty() { "" } else { name };
        // The longest suffix is found first. A name does not begin with a dot.
        let suffixes = wild.match_indices('.').filter(|(at, _)| *at > 0);
        let wild = suffixes.filter_map(move |(at, _)| self.wildcard.get(&wild[at..]));
        self.exact
            .get(name)
            .into_iter()
            .chain(wild)
            .chain(&self.any)
    }

    /// The value of the most specific pattern that has this canonical host.
    pub(crate) fn get(&self, host: &str) -> Option<&T> {
        self.levels(host).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        text.parse().expect("a host pattern")
    }

    #[test]
    fn a_pattern_has_its_hosts_and_no_others() {
        for (text, host, matches) in [
            ("", "anything", true),
            ("*", "", true),
            ("www.example.com", "www.example.com", true),
            ("WWW.Example.COM.", "www.example.com", true),
            ("www.example.com", "example.com", false),
            ("*.example.com", "www.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "wwwexample.com", false),
            ("localhost", "localhost", true),
            ("127.0.0.1", "127.0.0.1", true),
        ] {
            assert_eq!(pattern(text).matches(host), matches, "{text} {host}");
        }
    }

    #[test]
    fn what_is_no_host_name_is_refused_with_a_remedy() {
        let long_label = format!("{}.com", "a".repeat(64));
        let long_name = "a.".repeat(127) + "aa";
        for text in [
            "*.",
            "*.*.com",
            "a*.com",
            "a..com",
            ".com",
            "-a.com",
            "a-.com",
            "a b",
            "a:80",
            "a/b",
            "bücher.example",
            "*example.com",
            ".",
            &long_label,
            &long_name,
        ] {
            let error = text.parse::<HostPattern>().expect_err(text).to_string();
            assert!(
                error.contains(text) && error.contains("www.example.com"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_most_specific_pattern_is_found_first() {
        let mut map = HostMap::default();
        let patterns = [
            "*",
            "*.com",
            "*.example.com",
            "www.example.com",
            "*.www.example.com",
        ];
        for text in patterns {
            assert_eq!(map.insert(&pattern(text), text), None);
        }
        for (host, levels) in [
            (
                "www.example.com",
                &["www.example.com", "*.example.com", "*.com", "*"][..],
            ),
            (
                "a.www.example.com",
                &["*.www.example.com", "*.example.com", "*.com", "*"],
            ),
            ("example.com", &["*.com", "*"]),
            ("com", &["*"]),
            ("", &["*"]),
            (".com", &["*"]),
        ] {
            assert_eq!(
                map.levels(host).copied().collect::<Vec<_>>(),
                levels,
                "{host}"
            );
            assert_eq!(map.get(host), levels.first(), "{host}");
        }
    }

    #[test]
    fn a_host_that_is_too_long_for_a_name_has_no_wildcard() {
        let mut map = HostMap::default();
        map.insert(&pattern("*.example.com"), 1);
        let host = "a.".repeat(20_000) + "example.com";
        assert_eq!(map.get(&host), None);
        assert!(!pattern("*.example.com").matches(&host));
    }

    #[test]
    fn hosts_are_compared_in_lower_case_and_without_the_last_dot() {
        assert_eq!(canonical_host("WwW.Example.com."), "www.example.com");
        assert!(matches!(
            canonical_host("example.com."),
            Cow::Borrowed("example.com")
        ));
    }
}
