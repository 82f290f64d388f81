//! What upstreams are told of the client: Forwarded (RFC 7239), X-Forwarded-* and Via.
//!
//! Pure. Whatever the client said in these fields is dropped: only this gateway has seen
//! who is connected to it.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::authority::Host;

/// The connection that requests came by and the host that they named, with what upstreams
/// are told of both: values that are made once, and shared.
#[derive(Debug)]
pub(crate) struct Hop {
    pub(crate) host: Host,
    peer: SocketAddr,
    /// `http` or `https`.
    scheme: &'static str,
    forwarded: HeaderValue,
    forwarded_for: HeaderValue,
    forwarded_port: HeaderValue,
}

impl Hop {
    /// `peer` is the client's validated address, `local` the one that it connected to.
    pub(crate) fn new(
        peer: SocketAddr,
        local: SocketAddr,
        scheme: &'static str,
        host: Host,
    ) -> Self {
        let client = peer.ip().to_canonical();
        Self {
            forwarded: forwarded(client, &host, scheme),
            forwarded_for: value(client.to_string()),
            forwarded_port: HeaderValue::from(local.port()),
            host,
            peer,
            scheme,
        }
    }

    /// Whether another request of the connection, which [names](super::authority::named)
    /// this host, came the same way. Its client may have moved.
    pub(crate) fn is_of(&self, peer: SocketAddr, named: &[u8]) -> bool {
        self.peer == peer && self.host.value == named
    }
}

/// Replaces everything that is said of the client in `headers`.
pub(crate) fn set(headers: &mut HeaderMap, hop: &Hop) {
    let claimed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_claim(name.as_str()))
        .cloned()
        .collect();
    for name in claimed {
        headers.remove(name);
    }
    headers.insert(header::FORWARDED, hop.forwarded.clone());
    headers.insert(X_FORWARDED_FOR, hop.forwarded_for.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(hop.scheme));
    headers.insert(X_FORWARDED_HOST, hop.host.value.clone());
    headers.insert(X_FORWARDED_PORT, hop.forwarded_port.clone());
}

/// Adds this gateway to Via (RFC 9110 7.6.3), which received a message of this version.
pub(crate) fn append_via(headers: &mut HeaderMap, received: Version) {
    let via = HeaderValue::from_static(match received {
        Version::HTTP_09 | Version::HTTP_10 => "1.0 tidegate",
        Version::HTTP_2 => "2 tidegate",
        Version::HTTP_3 => "3 tidegate",
        _ => "1.1 tidegate",
    });
    headers.append(header::VIA, via);
}

fn is_claim(name: &str) -> bool {
    name.starts_with("x-forwarded-") || matches!(name, "forwarded" | "x-real-ip" | "x-forwarded")
}

/// An IPv6 address is bracketed and, as every value with a colon, quoted.
fn forwarded(peer: IpAddr, host: &Host, scheme: &str) -> HeaderValue {
    let host = host.value.to_str().unwrap_or_default();
    value(match peer {
        IpAddr::V4(peer) => format!("for={peer};host=\"{host}\";proto={scheme}"),
        IpAddr::V6(peer) => format!("for=\"[{peer}]\";host=\"{host}\";proto={scheme}"),
    })
}

fn value(text: String) -> HeaderValue {
    // Addresses, schemes and hosts that were checked are visible ASCII.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

#[cfg(test)]
mod tests {
    use super::*;

    fn told(client_says: &[(&'static str, &'static str)], peer: &str) -> HeaderMap {
        let mut headers: HeaderMap = client_says
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        set(&mut headers, &hop(peer, "shop.example:8443"));
        headers
    }

    fn hop(peer: &str, host: &str) -> Hop {
        let peer = peer.parse().expect("an address");
        let local = "10.0.0.1:8443".parse().expect("an address");
        let host = Host::parse(host.as_bytes()).expect("a host");
        Hop::new(peer, local, "https", host)
    }

    #[test]
    fn a_client_that_moves_or_names_another_host_comes_another_way() {
        let hop = hop("192.0.2.7:50000", "shop.example");
        for (peer, named, same) in [
            ("192.0.2.7:50000", "shop.example", true),
            ("192.0.2.8:50000", "shop.example", false),
            ("192.0.2.7:50000", "shop.example:443", false),
            ("192.0.2.7:50000", "Shop.example", false),
        ] {
            let peer = peer.parse().expect("an address");
            assert_eq!(hop.is_of(peer, named.as_bytes()), same, "{peer} {named}");
        }
    }

    #[test]
    fn upstreams_learn_the_client_host_scheme_and_port() {
        let headers = told(&[], "192.0.2.7:50000");
        let expected = [
            (
                "forwarded",
                r#"for=192.0.2.7;host="shop.example:8443";proto=https"#,
            ),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example:8443"),
            ("x-forwarded-port", "8443"),
        ];
        assert_eq!(headers.len(), expected.len());
        for (name, value) in expected {
            assert_eq!(headers[name], value);
        }
    }

    #[test]
    fn an_ipv6_client_is_bracketed_and_a_mapped_one_is_ipv4() {
        let headers = told(&[], "[2001:db8::7]:50000");
        assert!(
            headers["forwarded"]
                .to_str()
                .unwrap()
                .starts_with(r#"for="[2001:db8::7]";"#)
        );
        assert_eq!(headers["x-forwarded-for"], "2001:db8::7");
        assert_eq!(
            told(&[], "[::ffff:192.0.2.7]:1")["x-forwarded-for"],
            "192.0.2.7"
        );
    }

    #[test]
    fn nothing_that_a_client_claims_reaches_the_upstream() {
        let headers = told(
            &[
                ("forwarded", "for=1.2.3.4"),
                ("x-forwarded-for", "1.2.3.4"),
                ("x-forwarded-for", "5.6.7.8"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "evil.example"),
                ("x-forwarded-port", "1"),
                ("x-forwarded-server", "evil"),
                ("x-forwarded-prefix", "/evil"),
                ("x-real-ip", "1.2.3.4"),
                ("x-request-id", "kept"),
            ],
            "192.0.2.7:50000",
        );
        assert_eq!(headers.len(), 6);
        assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-request-id"], "kept");
    }

    #[test]
    fn via_keeps_the_hops_before() {
        let mut headers = HeaderMap::new();
        headers.insert(header::VIA, HeaderValue::from_static("1.1 cdn"));
        append_via(&mut headers, Version::HTTP_3);
        let hops: Vec<_> = headers.get_all(header::VIA).iter().collect();
        assert_eq!(hops, ["1.1 cdn", "3 tidegate"]);
    }
}
