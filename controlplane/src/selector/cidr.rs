//! A range of IP addresses in CIDR notation (RFC 4632, RFC 4291 2.3).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// All addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    first: IpAddr,
    prefix: u8,
}

/// A text that is no [`Cidr`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no range of addresses: expected one like `192.0.2.0/24`, or one address")]
pub struct InvalidCidr(String);

impl Cidr {
    /// The lowest address.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// The highest address.
    pub fn last(&self) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => {
                let hosts = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
                Ipv4Addr::from_bits(first.to_bits() | hosts).into()
            }
            IpAddr::V6(first) => {
                let hosts = u128::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
                Ipv6Addr::from_bits(first.to_bits() | hosts).into()
            }
        }
    }

    /// Whether an address is in it. An IPv4 address is in no IPv6 range.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && (self.first..=self.last()).contains(&address)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    /// Bits behind the prefix are taken as zero, as a person means them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (address, prefix) = match text.split_once('/') {
                Some((address, prefix)) => (address, Some(prefix.parse::<u8>().ok()?)),
                None => (text, None),
            };
            match address.parse().ok()? {
                IpAddr::V4(address) => {
                    let prefix = prefix.unwrap_or(32);
                    let mask = u32::MAX
                        .checked_shl(32_u32.checked_sub(prefix.into())?)
                        .unwrap_or(0);
                    let first = Ipv4Addr::from_bits(address.to_bits() & mask).into();
                    Some(Self { first, prefix })
                }
                IpAddr::V6(address) => {
                    let prefix = prefix.unwrap_or(128);
                    let mask = u128::MAX
                        .checked_shl(128_u32.checked_sub(prefix.into())?)
                        .unwrap_or(0);
                    let first = Ipv6Addr::from_bits(address.to_bits() & mask).into();
                    Some(Self { first, prefix })
                }
            }
        };
        parse().ok_or_else(|| InvalidCidr(text.to_owned()))
    }
}

/// The IP address in `address` or `address:port`; a mapped one as IPv4.
pub(crate) fn host(text: &str) -> Option<IpAddr> {
    let socket = text.parse::<SocketAddr>().map(|socket| socket.ip());
    socket
        .or_else(|_| text.parse::<IpAddr>())
        .ok()
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_its_ends_and_nothing_beyond() {
        for (range, first, last, below, above) in [
            (
                "192.0.2.9/24",
                "192.0.2.0",
                "192.0.2.255",
                "192.0.1.255",
                "192.0.3.0",
            ),
            ("10.1.2.3", "10.1.2.3", "10.1.2.3", "10.1.2.2", "10.1.2.4"),
            (
                "2001:db8::1/127",
                "2001:db8::",
                "2001:db8::1",
                "2001:db7::1",
                "2001:db8::2",
            ),
        ] {
            let range: Cidr = range.parse().unwrap();
            assert_eq!(range.first(), first.parse::<IpAddr>().unwrap());
            assert_eq!(range.last(), last.parse::<IpAddr>().unwrap());
            assert!(range.contains(range.first()) && range.contains(range.last()));
            assert!(!range.contains(below.parse().unwrap()));
            assert!(!range.contains(above.parse().unwrap()));
        }
    }

    #[test]
    fn a_prefix_of_zero_is_all_of_its_family_only() {
        let (all4, all6): (Cidr, Cidr) = ("0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap());
        let (four, six) = (
            "255.255.255.255".parse().unwrap(),
            "ffff::1".parse().unwrap(),
        );
        assert!(all4.contains(four) && !all4.contains(six));
        assert!(all6.contains(six) && !all6.contains(four));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/-1",
            "host/8",
            "::/",
        ] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_host_of_a_peer_is_found_in_every_form() {
        for (text, address) in [
            ("192.0.2.7:443", "192.0.2.7"),
            ("192.0.2.7", "192.0.2.7"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[::ffff:192.0.2.7]:443", "192.0.2.7"),
        ] {
            assert_eq!(host(text), Some(address.parse().unwrap()), "{text}");
        }
        assert_eq!(host("unix"), None);
    }
}
