//! Host names: their form, and which of them two patterns share.

/// Checks the form of a host name that may begin with a wildcard label.
pub(super) fn check(name: &str) -> Result<(), String> {
    check_precise(name.strip_prefix("*.").unwrap_or(name)).map_err(|problem| {
        if name.contains('*') && !name.starts_with("*.") {
            format!(
                "`{name}` has a wildcard that is not its whole first label; write `*.example.com`"
            )
        } else {
            problem
        }
    })
}

/// Checks the form of a host name without wildcards (RFC 1123, lower case).
pub(crate) fn check_precise(name: &str) -> Result<(), String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Err(format!("`{name}` is an IP address; write a DNS name"));
    }
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(format!(
            "`{name}` is no host name; write lower-case labels of letters, digits and `-`, \
             joined by dots, without a port"
        ));
    }
    Ok(())
}

/// The names that both a listener's host name and a route's stand for, as one pattern.
/// The listener's may be empty: any name. A wildcard stands for one or more labels.
pub(super) fn intersection(listener: &str, route: &str) -> Option<String> {
    let narrower = if listener.is_empty() || covers(listener, route) {
        route
    } else if covers(route, listener) {
        listener
    } else {
        return None;
    };
    Some(narrower.to_owned())
}

/// Whether every name of `inner` is one of `outer`.
fn covers(outer: &str, inner: &str) -> bool {
    if outer == inner {
        return true;
    }
    let Some(suffix) = outer.strip_prefix('*') else {
        return false;
    };
    let inner = inner.strip_prefix('*').unwrap_or(inner);
    // `.example.com` is inside of `.example.com`, but `example.com` is not.
    inner.len() > suffix.len() && inner.ends_with(suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intersection_is_the_narrower_of_two_that_overlap() {
        for (listener, route, expected) in [
            ("", "shop.example.com", Some("shop.example.com")),
            ("", "*.example.com", Some("*.example.com")),
            (
                "shop.example.com",
                "shop.example.com",
                Some("shop.example.com"),
            ),
            ("shop.example.com", "other.example.com", None),
            (
                "*.example.com",
                "shop.example.com",
                Some("shop.example.com"),
            ),
            ("*.example.com", "a.b.example.com", Some("a.b.example.com")),
            ("*.example.com", "example.com", None),
            ("*.example.com", "badexample.com", None),
            (
                "shop.example.com",
                "*.example.com",
                Some("shop.example.com"),
            ),
            ("shop.example.com", "*.com", Some("shop.example.com")),
            ("example.com", "*.example.com", None),
            ("*.example.com", "*.example.com", Some("*.example.com")),
            ("*.example.com", "*.a.example.com", Some("*.a.example.com")),
            ("*.a.example.com", "*.example.com", Some("*.a.example.com")),
            ("*.example.com", "*.example.org", None),
            ("*.example.com", "*.badexample.com", None),
        ] {
            assert_eq!(
                intersection(listener, route).as_deref(),
                expected,
                "{listener} {route}"
            );
        }
    }

    #[test]
    fn malformed_names_are_refused() {
        for name in [
            "a",
            "a.b",
            "*.example.com",
            "1.example.com",
            "xn--bcher-kva.example",
            "*.com",
        ] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        let long = format!("{}.example", "a".repeat(64));
        for name in [
            "",
            "*",
            "*.",
            "a..b",
            ".a",
            "a.",
            "-a",
            "a-",
            "A.example",
            "a_b",
            "a.*.b",
            "*a.b",
            "*.*.b",
            "192.0.2.1",
            "2001:db8::1",
            "a:80",
            "bücher.example",
            &long,
        ] {
            assert!(check(name).is_err(), "{name}");
        }
        assert!(check_precise("*.example.com").is_err());
    }
}
