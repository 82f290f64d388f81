//! Who may connect, decided between the handshake and the first request.

use std::net::IpAddr;

use tidegate_proto::v1;

use super::{cidr::Cidr, problems::Object};

/// RFC 9114 8.1: the server refused before it processed anything.
const H3_REQUEST_REJECTED: u64 = 0x10b;

/// Address ranges; an address that is denied is not admitted, even if it is allowed too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    allow: Vec<Cidr>,
    deny: Vec<Cidr>,
    /// HTTP/3 application error code that a refused connection is closed with.
    pub error_code: u64,
}

impl Admission {
    /// Whether addresses make no difference.
    pub fn is_open(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// Whether a peer with this validated address may send requests.
    pub fn admits(&self, ip: IpAddr) -> bool {
        let among = |ranges: &[Cidr]| ranges.iter().any(|range| range.contains(ip));
        !among(&self.deny) && (self.allow.is_empty() || among(&self.allow))
    }
}

impl Default for Admission {
    /// Everyone.
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            error_code: H3_REQUEST_REJECTED,
        }
    }
}

pub(super) fn parse(wire: &v1::Admission, object: &mut Object<'_>) -> Option<Admission> {
    let allow = ranges("allow", &wire.allow, object);
    let deny = ranges("deny", &wire.deny, object);
    let error_code = match wire.error_code {
        0 => H3_REQUEST_REJECTED,
        code => code,
    };
    let sound = error_code < 1 << 62;
    if !sound {
        let message = format!("{error_code} does not fit the wire; use at most 2^62 - 1");
        object.refuse("admission.error_code", message);
    }
    sound.then_some(Admission {
        allow: allow?,
        deny: deny?,
        error_code,
    })
}

fn ranges(field: &str, wire: &[String], object: &mut Object<'_>) -> Option<Vec<Cidr>> {
    let parsed = wire.iter().enumerate().map(|(index, text)| {
        object.accept(format!("admission.{field}[{index}]"), text.parse::<Cidr>())
    });
    // Collected first, so that every bad range is reported and not the first alone.
    parsed.collect::<Vec<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(allow: &[&str], deny: &[&str]) -> Admission {
        let parse = |ranges: &[&str]| ranges.iter().map(|text| text.parse().unwrap()).collect();
        Admission {
            allow: parse(allow),
            deny: parse(deny),
            error_code: 1,
        }
    }

    #[test]
    fn without_ranges_everyone_is_admitted() {
        assert!(Admission::default().admits("203.0.113.9".parse().unwrap()));
        assert!(Admission::default().admits("2001:db8::9".parse().unwrap()));
    }

    #[test]
    fn deny_wins_over_allow_and_allow_excludes_the_rest() {
        let some = admission(&["10.0.0.0/8", "2001:db8::/32"], &["10.1.0.0/16"]);
        for (address, admitted) in [
            ("10.0.0.1", true),
            ("10.1.0.1", false),
            ("::ffff:10.1.0.1", false),
            ("::ffff:10.2.0.1", true),
            ("11.0.0.1", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(some.admits(address.parse().unwrap()), admitted, "{address}");
        }
    }

    #[test]
    fn deny_alone_admits_everyone_else() {
        let most = admission(&[], &["192.0.2.0/24"]);
        assert!(!most.admits("192.0.2.1".parse().unwrap()));
        assert!(most.admits("192.0.3.1".parse().unwrap()));
    }
}
