//! Which host a request is for (RFC 9110 7.2, RFC 9112 3.2, RFC 9113 8.3.1, RFC 9114 4.3.1).
//!
//! Pure. One answer for routing, for the upstream and for `Forwarded`: a request whose
//! parts disagree about it is refused.

use http::{HeaderValue, Request, Version, header, uri::Authority};

use super::failure::Failure;
use crate::{route::canonical_host, snapshot::Scheme};

/// The host of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// As the client wrote it, with the port: what upstreams get.
    pub(crate) value: HeaderValue,
    /// Without the port, lower case, without the root's dot: what routes and listeners match.
    pub(crate) name: String,
}

impl Host {
    /// The host that a request [names](named).
    pub(crate) fn parse(named: &[u8]) -> Result<Self, Failure> {
        let host = || {
            let value = HeaderValue::from_bytes(named).ok()?;
            let name = name(&value)?;
            Some(Self { value, name })
        };
        host().ok_or(Failure::Malformed("The authority is no host name."))
    }
}

/// Takes the host out of `:authority`, the absolute form or Host.
pub(crate) fn of<B>(request: &Request<B>, scheme: Scheme) -> Result<Host, Failure> {
    Host::parse(named(request, scheme)?)
}

/// What the request says of its host, with the port, in the client's own bytes.
pub(crate) fn named<B>(request: &Request<B>, scheme: Scheme) -> Result<&[u8], Failure> {
    let uri = request.uri();
    if uri
        .scheme_str()
        .is_some_and(|named| named != scheme.as_str())
    {
        return Err(Failure::Malformed(
            "The scheme is not that of the connection.",
        ));
    }
    let mut fields = request.headers().get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(Failure::Malformed("Host is repeated."));
    }
    match (uri.authority(), field) {
        (Some(authority), Some(field)) if !agree(authority, field) => Err(Failure::Malformed(
            "Host is not the authority of the target.",
        )),
        (Some(authority), _) => Ok(authority.as_str().as_bytes()),
        (None, Some(field)) => Ok(field.as_bytes()),
        (None, None) if request.version() >= Version::HTTP_2 => {
            Err(Failure::Malformed("The authority is missing."))
        }
        (None, None) => Err(Failure::Malformed("Host is missing.")),
    }
}

fn agree(authority: &Authority, field: &HeaderValue) -> bool {
    authority
        .as_str()
        .as_bytes()
        .eq_ignore_ascii_case(field.as_bytes())
}

/// `host [":" port]` without user information; the host in the form that is compared.
fn name(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            let port = if rest.is_empty() {
                None
            } else {
                Some(rest.strip_prefix(':')?)
            };
            (&text[..address.len() + 2], port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    // "example.com:" is allowed, and means the default port.
    let port_is_fine = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && (port.is_empty() || port.parse::<u16>().is_ok())
    });
    let bracketed = host.starts_with('[');
    let host = canonical_host(host);
    let host_is_fine = bracketed || host.split('.').all(is_label);
    (port_is_fine && host_is_fine).then(|| host.into_owned())
}

/// None is empty: `a..` would be `a.` here and `a` to whoever looks once more.
fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(is_name_byte)
}

/// What names and IPv4 addresses are made of. Percent-encoding and sub-delimiters are
/// legal in RFC 3986 and in no host name that anybody serves.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, uri: &str, hosts: &[&str]) -> Request<()> {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        request.body(()).expect("a valid request")
    }

    #[test]
    fn the_host_is_found_and_normalised_in_every_version() {
        let rows = [
            (Version::HTTP_11, "/", vec!["example.com"], "example.com"),
            (
                Version::HTTP_11,
                "/",
                vec!["Example.COM:8443"],
                "example.com",
            ),
            (Version::HTTP_11, "/", vec!["example.com."], "example.com"),
            (Version::HTTP_11, "/", vec!["example.com:"], "example.com"),
            (Version::HTTP_11, "/", vec!["127.0.0.1:8443"], "127.0.0.1"),
            (
                Version::HTTP_11,
                "/",
                vec!["[2001:DB8::1]:8443"],
                "[2001:db8::1]",
            ),
            (Version::HTTP_11, "/", vec!["[::1]"], "[::1]"),
            (
                Version::HTTP_11,
                "https://a.example/",
                vec!["a.example"],
                "a.example",
            ),
            (Version::HTTP_2, "https://a.example/", vec![], "a.example"),
            (
                Version::HTTP_2,
                "https://a.example/",
                vec!["A.example"],
                "a.example",
            ),
            (
                Version::HTTP_3,
                "https://a.example:1/x",
                vec!["a.example:1"],
                "a.example",
            ),
            (Version::HTTP_3, "/x", vec!["a.example"], "a.example"),
        ];
        for (version, uri, hosts, expected) in rows {
            let host = of(&request(version, uri, &hosts), Scheme::Https);
            assert_eq!(
                host.map(|host| host.name).as_deref(),
                Ok(expected),
                "{uri} {hosts:?}"
            );
        }
    }

    #[test]
    fn the_upstream_gets_the_host_as_the_client_wrote_it() {
        let host = of(
            &request(Version::HTTP_11, "/", &["Example.COM:8443"]),
            Scheme::Http,
        );
        assert_eq!(host.expect("valid").value, "Example.COM:8443");
    }

    #[test]
    fn a_request_without_one_clear_host_is_malformed() {
        let rows = [
            (Version::HTTP_11, "/", vec![]),
            (Version::HTTP_11, "/", vec![""]),
            (Version::HTTP_11, "/", vec![":8443"]),
            (Version::HTTP_11, "/", vec!["a.example", "a.example"]),
            (Version::HTTP_11, "/", vec!["user@a.example"]),
            (Version::HTTP_11, "/", vec!["a.example:port"]),
            (Version::HTTP_11, "/", vec!["a.example:65536"]),
            (Version::HTTP_11, "/", vec!["a.example/path"]),
            (Version::HTTP_11, "/", vec!["a example"]),
            (Version::HTTP_11, "/", vec!["[::1"]),
            (Version::HTTP_11, "/", vec!["[::1]x"]),
            (Version::HTTP_11, "/", vec!["::1"]),
            (Version::HTTP_11, "/", vec!["."]),
            (Version::HTTP_11, "/", vec!["a.example.."]),
            (Version::HTTP_11, "/", vec!["a..example"]),
            (Version::HTTP_11, "/", vec![".example"]),
            (Version::HTTP_11, "https://a.example/", vec!["b.example"]),
            (Version::HTTP_2, "/", vec![]),
            (Version::HTTP_2, "https://a.example/", vec!["b.example"]),
            (Version::HTTP_2, "https://u@a.example/", vec![]),
            (
                Version::HTTP_3,
                "https://a.example/",
                vec!["a.example:8443"],
            ),
            (Version::HTTP_3, "http://a.example/", vec![]),
        ];
        for (version, uri, hosts) in rows {
            let host = of(&request(version, uri, &hosts), Scheme::Https);
            assert!(
                matches!(host, Err(Failure::Malformed(_))),
                "{uri} {hosts:?} gave {host:?}"
            );
        }
    }
}
