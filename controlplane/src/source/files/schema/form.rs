//! The forms that texts must have: names, host names, durations and the like.

use super::at::shown;
use crate::translate::{is_origin, is_token, parse_duration};

/// A form, and how to say that a text is not of it.
pub(super) struct Form {
    /// As in "is no …".
    what: &'static str,
    pub remedy: &'static str,
    /// Characters, as the API server counts.
    longest: usize,
    may_be_empty: bool,
    fits: fn(&str) -> bool,
}

impl Form {
    /// Whether a text is of the form, or what is wrong with it.
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        if text.is_empty() {
            return if self.may_be_empty {
                Ok(())
            } else {
                Err("is empty".to_owned())
            };
        }
        if text.chars().count() > self.longest {
            return Err(format!("is longer than {} characters", self.longest));
        }
        if !(self.fits)(text) {
            return Err(format!("`{}` is no {}", shown(text), self.what));
        }
        Ok(())
    }
}

const fn form(
    what: &'static str,
    longest: usize,
    fits: fn(&str) -> bool,
    remedy: &'static str,
) -> Form {
    Form {
        what,
        remedy,
        longest,
        may_be_empty: false,
        fits,
    }
}

pub(super) static GROUP: Form = Form {
    may_be_empty: true,
    ..form(
        "API group",
        253,
        is_subdomain,
        "write a DNS name in lower case; empty: the core group",
    )
};
pub(super) static KIND: Form = form(
    "kind",
    63,
    is_kind,
    "write letters, digits and `-`, like `Service`",
);
pub(super) static OBJECT: Form = form("name", 253, |_| true, "write the name of an object");
pub(super) static NAMESPACE: Form = form(
    "namespace",
    63,
    is_label,
    "write lower-case letters, digits and `-`",
);
/// Of a listener, a rule or a Service's port.
pub(super) static SECTION: Form = form(
    "name",
    253,
    is_subdomain,
    "write lower-case letters, digits, `-` and `.`",
);
pub(super) static HOSTNAME: Form = form(
    "host name",
    253,
    is_hostname,
    "write a DNS name in lower case without a port; `*.` may stand for its first labels",
);
pub(super) static PRECISE_HOSTNAME: Form = form(
    "host name",
    253,
    is_subdomain,
    "write a DNS name in lower case, without a port and without `*`",
);
pub(super) static TOKEN: Form = form("name", 256, is_token, "write letters, digits and `-`");
pub(super) static HEADER_VALUE: Form = form(
    "value",
    4096,
    |_| true,
    "write one to 4096 characters, or remove it",
);
pub(super) static QUERY_VALUE: Form = form(
    "value",
    1024,
    |_| true,
    "write one to 1024 characters, or remove it",
);
/// What takes a path's place, or a pattern.
pub(super) static PATH_TEXT: Form = Form {
    may_be_empty: true,
    ..form("path", 1024, |_| true, "write up to 1024 characters")
};
/// What requests' paths are compared with.
pub(super) static PATH: Form = form(
    "path that requests have",
    1024,
    is_path,
    "write an absolute path without `//`, `.`, `..` or an encoded `/`; percent-encode what is not ASCII",
);
/// GEP-2257.
pub(super) static DURATION: Form = form(
    "duration",
    24,
    |text| parse_duration(text).is_ok(),
    "write whole numbers with units h, m, s, ms, like `1m30s`",
);
pub(super) static PROTOCOL: Form = form(
    "protocol",
    255,
    |text| is_word(text) || is_qualified(text, |name| name.bytes().all(alphanumeric)),
    "write HTTP, HTTPS, TLS, TCP, UDP or a name like `example.com/word`",
);
pub(super) static ADDRESS_TYPE: Form = form(
    "type of an address",
    253,
    |text| {
        ["IPAddress", "Hostname", "NamedAddress"].contains(&text)
            || is_qualified(text, |name| name.bytes().all(in_path))
    },
    "write IPAddress, Hostname, NamedAddress or a name like `example.com/word`",
);
pub(super) static ADDRESS: Form = Form {
    may_be_empty: true,
    ..form("address", 253, |_| true, "write up to 253 characters")
};
pub(super) static CONTROLLER: Form = form(
    "name of a controller",
    253,
    |text| is_qualified(text, |name| name.bytes().all(in_path)),
    "write a name like `example.com/controller`",
);
pub(super) static DESCRIPTION: Form = Form {
    may_be_empty: true,
    ..form("description", 64, |_| true, "write up to 64 characters")
};
pub(super) static CA_SET: Form = form(
    "set of certificates",
    253,
    |text| text == "System" || is_qualified(text, is_label_key),
    "write `System`",
);
pub(super) static URI: Form = form(
    "absolute URI",
    253,
    |text| {
        let scheme = text.split("://").next().unwrap_or_default();
        scheme.len() < text.len() && !scheme.is_empty() && !scheme.contains([':', '/', '?', '#'])
    },
    "write a scheme, `://` and the rest",
);

/// Of CORS: `*`, or an origin whose host may be `*` or begin with `*.`.
pub(super) static ORIGIN: Form = form(
    "origin",
    253,
    |text| text == "*" || is_origin(text),
    "write `*`, or http:// or https:// and a host, which may begin with `*.`",
);
/// Of a GRPCRoute's match of type Exact.
pub(super) static GRPC_SERVICE: Form = Form {
    may_be_empty: true,
    ..form(
        "gRPC service",
        1024,
        |text| {
            text.strip_prefix('.')
                .unwrap_or(text)
                .split('.')
                .all(is_identifier)
        },
        "write it with its package, like `shop.v1.Cart`",
    )
};
pub(super) static GRPC_METHOD: Form = Form {
    may_be_empty: true,
    ..form(
        "gRPC method",
        1024,
        is_identifier,
        "write letters, digits and `_`",
    )
};

fn is_identifier(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().all(|b| alphanumeric(*b) || *b == b'_')
        && bytes.first().is_some_and(|b| !b.is_ascii_digit())
}

fn alphanumeric(b: u8) -> bool {
    b.is_ascii_alphanumeric()
}

fn lower(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// `edge` at both ends, and that or `-` between.
fn is_hyphenated(text: &str, edge: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().all(|b| edge(*b) || *b == b'-')
        && bytes.first().is_some_and(|b| edge(*b))
        && bytes.last().is_some_and(|b| edge(*b))
}

pub(super) fn is_label(text: &str) -> bool {
    is_hyphenated(text, lower)
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_hostname(text: &str) -> bool {
    is_subdomain(text.strip_prefix("*.").unwrap_or(text))
}

fn is_word(text: &str) -> bool {
    is_hyphenated(text, alphanumeric)
}

fn is_kind(text: &str) -> bool {
    is_word(text) && text.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// A DNS name, `/` and what `fits`.
fn is_qualified(text: &str, fits: impl Fn(&str) -> bool) -> bool {
    text.split_once('/')
        .is_some_and(|(domain, name)| is_subdomain(domain) && !name.is_empty() && fits(name))
}

/// The part of a label's key after its `/`.
fn is_label_key(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.iter().all(|b| alphanumeric(*b) || b"-_.".contains(b))
        && bytes.first().is_some_and(|b| alphanumeric(*b))
        && bytes.last().is_some_and(|b| alphanumeric(*b))
}

/// RFC 3986 3.3, without `%`.
fn in_path(b: u8) -> bool {
    alphanumeric(b) || b"/-._~!$&'()*+,;=:@".contains(&b)
}

/// The API server's idea of a path. Translation is stricter yet, and tells it in a status.
fn is_path(text: &str) -> bool {
    let bytes = text.as_bytes();
    let encoded = |at: usize| {
        let digits = bytes.get(at + 1..at + 3);
        digits.is_some_and(|digits| {
            digits.iter().all(u8::is_ascii_hexdigit) && !digits.eq_ignore_ascii_case(b"2f")
        })
    };
    text.starts_with('/')
        && !text.contains("//")
        && !text
            .split('/')
            .any(|element| [".", ".."].contains(&element))
        && bytes
            .iter()
            .enumerate()
            .all(|(at, b)| in_path(*b) || (*b == b'%' && encoded(at)))
}
