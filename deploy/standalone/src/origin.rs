//! Where a request goes: a URL taken apart, and the addresses behind its host.
//!
//! Used by `get` and by the client of the admin API. It opens no connection.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use http::{Uri, uri::Scheme};

/// A URL with scheme `http` or `https` and a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub uri: Uri,
    pub origin: Origin,
}

/// Scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub tls: bool,
    /// Name or IP address, IPv6 without brackets.
    pub host: String,
    pub port: u16,
}

impl Origin {
    /// The addresses to try, in order: what `pins` say, or else the system's resolver.
    ///
    /// # Errors
    /// The host has no address.
    pub async fn addresses(&self, pins: &[Pin]) -> io::Result<Vec<SocketAddr>> {
        let pinned: Vec<_> = pins
            .iter()
            .filter(|pin| pin.port == self.port && pin.host.eq_ignore_ascii_case(&self.host))
            .map(|pin| SocketAddr::new(pin.address, self.port))
            .collect();
        if !pinned.is_empty() {
            return Ok(pinned);
        }
        let mut found = Vec::new();
        for address in tokio::net::lookup_host((self.host.as_str(), self.port)).await? {
            if !found.contains(&address) {
                found.push(address);
            }
        }
        if found.is_empty() {
            return Err(io::Error::other(format!("{} has no address", self.host)));
        }
        Ok(found)
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected a URL such as https://localhost:8443/echo";
        let uri: Uri = text.parse().map_err(|e| format!("{EXPECTED}: {e}"))?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(EXPECTED.into()),
        };
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(EXPECTED.into());
        }
        let origin = Origin {
            tls,
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        };
        Ok(Self { uri, origin })
    }
}

/// `HOST:PORT:ADDRESS`: the address to use for that host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    pub host: String,
    pub port: u16,
    pub address: IpAddr,
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (host, rest) = text.split_once(':')?;
            let (port, address) = rest.split_once(':')?;
            let address = address.trim_start_matches('[').trim_end_matches(']');
            let host = Some(host).filter(|host| !host.is_empty())?.to_owned();
            Some(Self {
                host,
                port: port.parse().ok()?,
                address: address.parse().ok()?,
            })
        };
        parse().ok_or_else(|| "expected HOST:PORT:ADDRESS, as in shop.example:443:127.0.0.1".into())
    }
}

/// One path segment with everything escaped that has a meaning in a URL; `/` is `%2F`.
#[must_use]
pub fn escape(segment: &str) -> String {
    let mut escaped = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_default_to_the_scheme() {
        let url: Url = "https://demo.localhost/a?b".parse().expect("valid");
        assert_eq!((url.origin.port, url.origin.tls), (443, true));
        let url: Url = "http://[::1]".parse().expect("valid");
        assert_eq!((url.origin.port, url.origin.host.as_str()), (80, "::1"));
    }

    #[test]
    fn other_schemes_and_relative_references_are_refused() {
        for text in ["", "/a", "localhost:8443", "ftp://a/", "https:///a"] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pin_may_hold_either_family() {
        let v6: Pin = "a:443:[::1]".parse().expect("valid");
        assert_eq!(v6.address, IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]));
        assert!("a:443:::1".parse::<Pin>().is_ok());
        for text in ["a:443", "a:b:127.0.0.1", ":443:127.0.0.1", "a:443:b"] {
            assert!(text.parse::<Pin>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn pins_win_over_the_resolver_for_their_port_only() {
        let pins = ["localhost:8443:192.0.2.7".parse().expect("valid")];
        let mut origin = Origin {
            tls: true,
            host: "LOCALHOST".into(),
            port: 8443,
        };
        let pinned = origin.addresses(&pins).await.expect("pinned");
        assert_eq!(pinned, [SocketAddr::from(([192, 0, 2, 7], 8443))]);
        origin.port = 443;
        let resolved = origin.addresses(&pins).await.expect("resolved");
        assert!(resolved.iter().all(|a| a.ip().is_loopback()));
    }

    #[test]
    fn a_slash_in_an_id_is_escaped() {
        assert_eq!(escape("default/demo/https"), "default%2Fdemo%2Fhttps");
        assert_eq!(escape("local.0.1~2"), "local.0.1~2");
        assert_eq!(escape("a b%?"), "a%20b%25%3F");
    }
}
