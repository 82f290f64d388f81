use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;

#[test]
fn each_spelling_of_a_path_has_one_form() {
    for (path, expected) in [
        ("", "/"),
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("/%61dmin", "/admin"),
        ("/%7Euser/%2D%2E%5F", "/~user/-._"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/café", "/caf%C3%A9"),
        ("/a%20b", "/a%20b"),
        ("/a%252fb", "/a%252fb"),
        ("/a%25%32%66b", "/a%252fb"),
        ("//a///b//", "/a/b/"),
        ("/./a/./b/.", "/a/b/"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/../", "/a/"),
        ("/..", "/"),
        ("/../../a", "/a"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/a//../b", "/b"),
        ("/...", "/..."),
        ("/.a/..b/c..", "/.a/..b/c.."),
        (
            "/.well-known/acme-challenge/x",
            "/.well-known/acme-challenge/x",
        ),
        ("/a;v=1/b,c=$1!'()*+&@:x", "/a;v=1/b,c=$1!'()*+&@:x"),
        ("/%3b%2C%40", "/%3B%2C%40"),
        ("/<a>{b}|c^d`e\"", "/%3Ca%3E%7Bb%7D%7Cc%5Ed%60e%22"),
        ("/[1]", "/%5B1%5D"),
    ] {
        assert_eq!(canonical(path).as_deref(), Ok(expected), "{path}");
    }
}

#[test]
fn a_path_that_servers_read_in_different_ways_is_refused() {
    use Rejected::{Backslash, DotParameter, EncodedSeparator, Forbidden, Malformed, NotAbsolute};
    for (path, reason) in [
        ("a", NotAbsolute),
        ("*", NotAbsolute),
        ("http://a/b", NotAbsolute),
        ("%2fa", NotAbsolute),
        ("/a%2fb", EncodedSeparator),
        ("/a%2Fb", EncodedSeparator),
        ("/a%5cb", EncodedSeparator),
        ("/a%5Cb", EncodedSeparator),
        ("/..%2f..%2fetc", EncodedSeparator),
        ("/a\\b", Backslash),
        ("/\\..\\a", Backslash),
        ("/a%00", Forbidden),
        ("/a%0d%0aHost:x", Forbidden),
        ("/a%1f", Forbidden),
        ("/a%7f", Forbidden),
        ("/a\0", Forbidden),
        ("/a b", Forbidden),
        ("/a\tb", Forbidden),
        ("/a\r\n", Forbidden),
        ("/a\u{7f}", Forbidden),
        ("/a?b", Forbidden),
        ("/a#b", Forbidden),
        ("/a%", Malformed),
        ("/a%4", Malformed),
        ("/a%zz", Malformed),
        ("/a%+1", Malformed),
        ("/a%é", Malformed),
        ("/a/..;/b", DotParameter),
        ("/a/.;x=1/b", DotParameter),
        ("/a/%2e%2e;/b", DotParameter),
        ("/a/..%3b/b", DotParameter),
    ] {
        assert_eq!(canonical(path), Err(reason), "{path:?}");
    }
}

#[test]
fn a_canonical_path_is_not_copied() {
    for path in ["/", "/a/b.c/d", "/a;b=c/@x:1"] {
        assert!(matches!(canonical(path), Ok(Cow::Borrowed(same)) if same == path));
    }
}

/// Pieces that are likely to find a mistake when they are put side by side.
const PIECES: [&str; 28] = [
    "/", "/", "/", ".", "..", "%2e", "%2E", "%2f", "%5c", "\\", ";", "%3b", "%3B", "%", "%25", "2",
    "5", "f", "a", "B", "~", "é", "%c3%a9", " ", "\0", "?", "%00", "{",
];

fn random_path(rng: &mut StdRng) -> String {
    let count = rng.random_range(0..12);
    let pieces = (0..count).map(|_| PIECES[rng.random_range(0..PIECES.len())]);
    std::iter::once("/").chain(pieces).collect()
}

/// Percent-decoded, as a server behind would.
fn decoded(path: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || char::from(rest.next().expect("a digit")).to_digit(16);
        out.push(match byte {
            b'%' => (digit().expect("a digit") * 16 + digit().expect("a digit")) as u8,
            other => other,
        });
    }
    out
}

#[test]
fn a_canonical_path_stays_and_holds_nothing_ambiguous() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut accepted = 0;
    for _ in 0..100_000 {
        let path = random_path(&mut rng);
        let Ok(form) = canonical(&path) else { continue };
        accepted += 1;
        assert_eq!(canonical(&form).as_deref(), Ok(&*form), "{path:?}");
        assert!(
            form.starts_with('/') && !form.contains("//"),
            "{path:?}: {form}"
        );
        assert!(
            form.bytes().all(|byte| byte.is_ascii_graphic()),
            "{path:?}: {form}"
        );
        assert!(
            http::uri::PathAndQuery::try_from(&*form).is_ok(),
            "{path:?}: {form}"
        );
        // What a server behind sees after decoding has the same segments, and none of them
        // would lead it elsewhere.
        let seen = decoded(&form);
        let slashes = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'/').count();
        assert_eq!(slashes(&seen), slashes(form.as_bytes()), "{path:?}: {form}");
        for segment in seen.split(|byte| *byte == b'/') {
            let name = segment.split(|byte| *byte == b';').next();
            assert!(!matches!(name, Some(b"." | b"..")), "{path:?}: {form}");
            assert!(
                segment.iter().all(|byte| *byte >= 0x20 && *byte != b'\\'),
                "{path:?}"
            );
        }
    }
    assert!(
        accepted > 5_000,
        "the pieces make too few good paths: {accepted}"
    );
}

#[test]
fn spellings_of_one_path_get_one_form() {
    let mut rng = StdRng::seed_from_u64(2);
    for _ in 0..20_000 {
        let path = random_path(&mut rng);
        let Ok(form) = canonical(&path) else { continue };
        let mut spelled = String::new();
        let mut bytes = form.bytes();
        while let Some(byte) = bytes.next() {
            let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            match rng.random_range(0..4) {
                _ if byte == b'%' => {
                    let digits = bytes.by_ref().take(2);
                    let digits = digits.map(|digit| char::from(digit).to_ascii_lowercase());
                    spelled.extend(std::iter::once('%').chain(digits));
                }
                0 if plain => spelled.push_str(&format!("%{byte:02x}")),
                1 if plain => spelled.push_str(&format!("%{byte:02X}")),
                2 if byte == b'/' => {
                    spelled.push_str(["//", "/./", "/x/../"][rng.random_range(0..3)]);
                }
                _ => spelled.push(byte.into()),
            }
        }
        assert_eq!(canonical(&spelled).as_deref(), Ok(&*form), "{spelled}");
    }
}
