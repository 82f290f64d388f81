//! The path of a request: its canonical form.

use tidegate_dataplane::path::canonical;

pub(super) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(path) = canonical(text) else {
        return;
    };
    is_canonical(&path);
    assert!(
        path.len() <= 3 * text.len().max(1),
        "a byte is three at the most"
    );
    // However often a server decodes, and whatever it takes for a separator.
    assert_eq!(
        canonical(&path).as_deref(),
        Ok(&*path),
        "its form is itself"
    );
}

/// What a canonical path promises to rules and to upstreams.
pub(super) fn is_canonical(path: &str) {
    assert!(path.starts_with('/'), "{path}");
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
    assert!(!path.contains(['?', '#', '\\']), "{path}");
    let upper = path.to_ascii_uppercase();
    for separator in ["%2F", "%5C", "%2E"] {
        assert!(!upper.contains(separator), "{path}");
    }
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        assert!(!segment.is_empty() || segments.peek().is_none(), "{path}");
        let name = segment.split(';').next().unwrap_or_default();
        assert!(name != "." && name != "..", "{path}");
    }
}
