//! The one form of a request's path, which routes match and upstreams get.
//!
//! Two spellings of a path that a server behind could take for the same are one here, or
//! are refused: a rule for `/admin` cannot be got around with `/%61dmin`, `//admin` or
//! `/x/../admin`. Pure; the proxy calls it on every request, the snapshot on every rule.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

/// Why a path has no canonical form. The answer is 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    #[error("the path has a `%` without two hexadecimal digits")]
    Malformed,
    #[error("the path has an encoded `/` or `\\`, which servers read in different ways")]
    EncodedSeparator,
    #[error("the path has a `\\`, which some servers read as `/`")]
    Backslash,
    #[error("the path has a control character, a space, a `?` or a `#`")]
    Forbidden,
    #[error("the path has a parameter on a dot segment, which servers read in different ways")]
    DotParameter,
}

impl Rejected {
    /// For metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAbsolute => "not_absolute",
            Self::Malformed => "malformed",
            Self::EncodedSeparator => "encoded_separator",
            Self::Backslash => "backslash",
            Self::Forbidden => "forbidden",
            Self::DotParameter => "dot_parameter",
        }
    }
}

/// The canonical form of a path (RFC 3986 6.2.2): what need not be encoded is decoded, what
/// has to be is encoded with upper-case digits, dot segments are resolved, and adjacent
/// slashes are one. An empty path is `/`. `OPTIONS *` is not for this function.
///
/// The form of a canonical path is itself.
pub fn canonical(path: &str) -> Result<Cow<'_, str>, Rejected> {
    if path.is_empty() {
        return Ok(Cow::Borrowed("/"));
    }
    if !path.starts_with('/') {
        return Err(Rejected::NotAbsolute);
    }
    if is_plain(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    resolve(&spell(path.as_bytes())?).map(Cow::Owned)
}

/// Whether there is nothing to decode, encode, merge or resolve, as with nearly every path.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    for &byte in path {
        // A dot after a slash may begin a dot segment, and may not.
        let suspicious = before == b'/' && matches!(byte, b'/' | b'.');
        if suspicious || !(byte == b'/' || is_segment(byte)) {
            return false;
        }
        before = byte;
    }
    true
}

/// Each byte in its one spelling.
fn spell(path: &[u8]) -> Result<String, Rejected> {
    let mut spelled = String::with_capacity(path.len());
    let mut rest = path.iter();
    while let Some(&byte) = rest.next() {
        match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| (*digit as char).to_digit(16));
                let (high, low) = digit().zip(digit()).ok_or(Rejected::Malformed)?;
                // Two hexadecimal digits fit a byte.
                let decoded = (high << 4 | low) as u8;
                match decoded {
                    b'/' | b'\\' => return Err(Rejected::EncodedSeparator),
                    0..0x20 | 0x7f => return Err(Rejected::Forbidden),
                    _ if is_unreserved(decoded) => spelled.push(decoded.into()),
                    _ => encode(decoded, &mut spelled),
                }
            }
            b'\\' => return Err(Rejected::Backslash),
            0..=0x20 | 0x7f | b'?' | b'#' => return Err(Rejected::Forbidden),
            _ if byte == b'/' || is_segment(byte) => spelled.push(byte.into()),
            _ => encode(byte, &mut spelled),
        }
    }
    Ok(spelled)
}

/// RFC 3986 5.2.4, and slashes merged.
fn resolve(spelled: &str) -> Result<String, Rejected> {
    let mut resolved = String::with_capacity(spelled.len());
    let mut segments = spelled.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "" | "." => {}
            ".." => resolved.truncate(resolved.rfind('/').unwrap_or(0)),
            _ if is_dots_with_parameter(segment) => return Err(Rejected::DotParameter),
            _ => {
                resolved.push('/');
                resolved.push_str(segment);
                continue;
            }
        }
        if last {
            resolved.push('/');
        }
    }
    Ok(resolved)
}

/// `..;x` is `..` to servers that have path parameters.
fn is_dots_with_parameter(segment: &str) -> bool {
    let rest = segment.strip_prefix("..").or(segment.strip_prefix('.'));
    rest.is_some_and(|rest| rest.starts_with(';') || rest.starts_with("%3B"))
}

fn encode(byte: u8, into: &mut String) {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    into.push('%');
    into.push(DIGITS[usize::from(byte >> 4)].into());
    into.push(DIGITS[usize::from(byte & 0xf)].into());
}

/// RFC 3986 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What stands for itself in a segment (RFC 3986 3.3).
fn is_segment(byte: u8) -> bool {
    is_unreserved(byte) || matches!(byte, b'!' | b'$' | b'&'..=b',' | b':' | b';' | b'=' | b'@')
}
