//! A range of IP addresses.

use std::{fmt, net::IpAddr, str::FromStr};

/// `10.0.0.0/8`, `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// Without bits below the prefix.
    network: IpAddr,
    /// 0 to 32, or 0 to 128.
    prefix: u8,
}

/// A text that is no [`Cidr`], with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no CIDR range; {remedy}")]
pub struct InvalidCidr {
    text: String,
    remedy: String,
}

impl Cidr {
    /// An IPv4 address in IPv6 form (`::ffff:a.b.c.d`) is the IPv4 address: dual-stack
    /// sockets report it so.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.network.is_ipv4() && masked(address, self.prefix) == self.network
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let invalid = |remedy: String| InvalidCidr {
            text: text.to_owned(),
            remedy,
        };
        let example = || invalid("write an address and a prefix length, as 192.0.2.0/24".into());
        let Some((address, prefix)) = text.split_once('/') else {
            return Err(match text.parse::<IpAddr>() {
                Ok(address) => {
                    invalid(format!("for one address write {address}/{}", bits(address)))
                }
                Err(_) => example(),
            });
        };
        let address = address.parse::<IpAddr>().map_err(|_| example())?;
        // `u8::from_str` takes a sign, which no other program would.
        let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse::<u8>().ok().filter(|_| digits);
        let bits = bits(address);
        let prefix = prefix.filter(|prefix| *prefix <= bits);
        let prefix = prefix.ok_or_else(|| invalid(format!("the prefix length is 0 to {bits}")))?;
        let network = masked(address, prefix);
        if network != address {
            return Err(invalid(format!("write {network}/{prefix}")));
        }
        Ok(Self { network, prefix })
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - prefix.min(128)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Cidr {
        text.parse().expect("a range")
    }

    #[test]
    fn a_range_has_its_addresses_and_no_others() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.7/32", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "2001:db8::1", "127.0.0.1"),
            ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "::ffff:9.1.1.1"),
        ] {
            assert!(
                range(text).contains(inside.parse().unwrap()),
                "{text} {inside}"
            );
            assert!(
                !range(text).contains(outside.parse().unwrap()),
                "{text} {outside}"
            );
            assert_eq!(range(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_range_is_refused_with_a_remedy() {
        for (text, remedy) in [
            ("", "192.0.2.0/24"),
            ("hello", "192.0.2.0/24"),
            ("10.0.0.1", "write 10.0.0.1/32"),
            ("::1", "write ::1/128"),
            ("10.0.0.1/8", "write 10.0.0.0/8"),
            ("10.0.0.0/33", "0 to 32"),
            ("::/129", "0 to 128"),
            ("10.0.0.0/+8", "0 to 32"),
            ("10.0.0.0/", "0 to 32"),
            ("10.0.0/8", "192.0.2.0/24"),
        ] {
            let error = text.parse::<Cidr>().expect_err(text).to_string();
            assert!(error.contains(remedy), "{text}: {error}");
        }
    }
}
