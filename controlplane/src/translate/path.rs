//! Paths that rules compare with and redirect to.

/// Checks that a path can be brought into the one form that paths of requests get. What
/// has none would never match, and a dataplane would refuse it.
pub(super) fn check(path: &str) -> Result<(), String> {
    let shown = path.escape_default();
    if !path.starts_with('/') {
        return Err(format!(
            "`{shown}` does not begin with `/`; write an absolute path"
        ));
    }
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'\\');
    if !path.bytes().all(plain) {
        return Err(format!(
            "`{shown}` is no path; percent-encode what is not ASCII, leave out `?`, `#` and `\\`"
        ));
    }
    let mut rest = path;
    while let Some((_, after)) = rest.split_once('%') {
        // ASCII throughout, so that bytes are characters.
        let digits = after
            .get(..2)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            None => {
                return Err(format!(
                    "`{shown}` has a `%` without two hexadecimal digits; write `%25`"
                ));
            }
            Some(b'/' | b'\\') => {
                return Err(format!(
                    "`{shown}` has an encoded `/` or `\\`, which no request may have; leave it out"
                ));
            }
            Some(0..0x20 | 0x7f) => {
                return Err(format!(
                    "`{shown}` has an encoded control character; leave it out"
                ));
            }
            Some(_) => {}
        }
        rest = &after[2..];
    }
    Ok(())
}

/// Checks a path that requests are compared with. It must be written as requests have it.
pub(super) fn check_match(path: &str) -> Result<(), String> {
    check(path)?;
    // A parameter on such an element is one of those that servers read in different ways.
    let dots = |element: &str| {
        let name = element
            .split(';')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
            .replace("%2e", ".");
        name == "." || name == ".."
    };
    if path.contains("//") || path.split('/').any(dots) {
        return Err(format!(
            "`{path}` matches no request, whose path has no `//`, `.` or `..`; write it without"
        ));
    }
    Ok(())
}

/// Checks a path that takes the place of another, which may have the elements `.` and `..`.
pub(super) fn check_replacement(path: &str) -> Result<(), String> {
    check(path)?;
    if path.contains(';') {
        return check_match(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_no_request_has_are_refused() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a%20b",
            "/a.b/..c",
            "/a;v=1",
            "/~user/%C3%A9",
            "/a%2E",
        ] {
            assert_eq!(check_match(path), Ok(()), "{path}");
        }
        for path in [
            "",
            "a",
            "//",
            "/a//b",
            "/.",
            "/a/..",
            "/a/%2e%2E/b",
            "/..;x/a",
            "/a b",
            "/a?b",
            "/a#b",
            "/a\\b",
            "/é",
            "/%",
            "/%4",
            "/%zz",
            "/%2f",
            "/%5C",
            "/%00",
            "/\u{7f}",
        ] {
            assert!(check_match(path).is_err(), "{path}");
        }
    }

    #[test]
    fn replacements_may_have_dots_but_no_parameters_on_them() {
        assert_eq!(check_replacement("/a/../b"), Ok(()));
        assert!(check_replacement("/a/..;/b").is_err());
        assert!(check_replacement("a").is_err());
    }
}
