//! Which connections a command, a listing or a history query means. Pure.
//!
//! A selector of the API is parsed once, here; what is wrong with it is said here. The
//! dataplanes apply it to live connections, `store` to the history, and `matches` to
//! events as they pass.

mod cidr;

use tidegate_proto::v1;

pub use self::cidr::{Cidr, InvalidCidr};

/// A selector that holds together. Every field that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Exact server name, lower case.
    pub server_name: Option<String>,
    /// Range of the peer's address.
    pub peer: Option<Cidr>,
    /// Listener id.
    pub listener: Option<String>,
    /// Least age, milliseconds.
    pub min_age_ms: Option<u64>,
    /// Most age, milliseconds.
    pub max_age_ms: Option<u64>,
    /// ALPN protocol.
    pub alpn: Option<String>,
}

/// What is wrong with a selector.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidSelector {
    /// The peer is no range of addresses.
    #[error("peer: {0}")]
    Peer(#[from] InvalidCidr),
    /// The bounds exclude everything.
    #[error("min_age_ms {min} is above max_age_ms {max}: no connection can match")]
    Age {
        /// Lower bound.
        min: u64,
        /// Upper bound.
        max: u64,
    },
}

impl Selector {
    /// Parses what came in; empty text and zero mean any.
    pub fn parse(wire: v1::Selector) -> Result<Self, InvalidSelector> {
        let text = |value: String| Some(value).filter(|value| !value.is_empty());
        let bound = |value: u64| Some(value).filter(|value| *value != 0);
        let v1::Selector {
            server_name,
            peer,
            listener,
            min_age_ms,
            max_age_ms,
            alpn,
        } = wire;
        if max_age_ms != 0 && min_age_ms > max_age_ms {
            return Err(InvalidSelector::Age {
                min: min_age_ms,
                max: max_age_ms,
            });
        }
        Ok(Self {
            server_name: text(server_name).map(|name| name.to_ascii_lowercase()),
            peer: text(peer).map(|range| range.parse()).transpose()?,
            listener: text(listener),
            min_age_ms: bound(min_age_ms),
            max_age_ms: bound(max_age_ms),
            alpn: text(alpn),
        })
    }

    /// Whether it means every connection.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As a dataplane reads it.
    pub fn to_wire(&self) -> v1::Selector {
        v1::Selector {
            server_name: self.server_name.clone().unwrap_or_default(),
            peer: self.peer.as_ref().map(Cidr::to_string).unwrap_or_default(),
            listener: self.listener.clone().unwrap_or_default(),
            min_age_ms: self.min_age_ms.unwrap_or_default(),
            max_age_ms: self.max_age_ms.unwrap_or_default(),
            alpn: self.alpn.clone().unwrap_or_default(),
        }
    }

    /// Whether a connection is meant.
    pub fn matches(&self, connection: &v1::Connection) -> bool {
        let tls = connection.tls.as_ref();
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        is(&self.server_name, tls.map(|tls| tls.server_name.as_str()))
            && is(&self.alpn, tls.map(|tls| tls.alpn.as_str()))
            && is(&self.listener, Some(&connection.listener_id))
            && self
                .min_age_ms
                .is_none_or(|least| connection.age_ms >= least)
            && self.max_age_ms.is_none_or(|most| connection.age_ms <= most)
            && self.peer.as_ref().is_none_or(|range| {
                host(&connection.peer_address).is_some_and(|address| range.contains(address))
            })
    }
}

pub(crate) use self::cidr::host;

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> v1::Connection {
        v1::Connection {
            listener_id: "default/edge/https".into(),
            peer_address: "192.0.2.7:52011".into(),
            age_ms: 5000,
            tls: Some(v1::TlsInfo {
                server_name: "shop.example.com".into(),
                alpn: "h3".into(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn every_field_that_is_set_must_hold() {
        let wanted = v1::Selector {
            server_name: "Shop.Example.COM".into(),
            peer: "192.0.2.0/24".into(),
            listener: "default/edge/https".into(),
            min_age_ms: 5000,
            max_age_ms: 5000,
            alpn: "h3".into(),
        };
        assert!(
            Selector::parse(wanted.clone())
                .unwrap()
                .matches(&connection())
        );
        for other in [
            v1::Selector {
                server_name: "example.com".into(),
                ..wanted.clone()
            },
            v1::Selector {
                peer: "192.0.3.0/24".into(),
                ..wanted.clone()
            },
            v1::Selector {
                listener: "default/edge/http".into(),
                ..wanted.clone()
            },
            v1::Selector {
                min_age_ms: 5001,
                max_age_ms: 0,
                ..wanted.clone()
            },
            v1::Selector {
                max_age_ms: 4999,
                min_age_ms: 0,
                ..wanted.clone()
            },
            v1::Selector {
                alpn: "h2".into(),
                ..wanted.clone()
            },
        ] {
            assert!(
                !Selector::parse(other.clone())
                    .unwrap()
                    .matches(&connection()),
                "{other:?}"
            );
        }
    }

    #[test]
    fn an_empty_selector_means_every_connection() {
        let any = Selector::parse(v1::Selector::default()).unwrap();
        assert!(any.is_empty());
        assert!(any.matches(&connection()));
        assert!(any.matches(&v1::Connection::default()));
    }

    #[test]
    fn a_connection_without_tls_has_no_server_name() {
        let wanted = Selector {
            alpn: Some("h2".into()),
            ..Default::default()
        };
        assert!(!wanted.matches(&v1::Connection {
            tls: None,
            ..connection()
        }));
    }

    #[test]
    fn contradictions_are_refused() {
        let upside_down = v1::Selector {
            min_age_ms: 2,
            max_age_ms: 1,
            ..Default::default()
        };
        assert!(
            Selector::parse(upside_down)
                .unwrap_err()
                .to_string()
                .contains("max_age_ms")
        );
        let no_range = v1::Selector {
            peer: "shop".into(),
            ..Default::default()
        };
        assert!(
            Selector::parse(no_range)
                .unwrap_err()
                .to_string()
                .starts_with("peer: `shop`")
        );
    }

    #[test]
    fn what_a_dataplane_reads_means_the_same() {
        let wire = v1::Selector {
            peer: "2001:db8::9/32".into(),
            max_age_ms: 7,
            ..Default::default()
        };
        let selector = Selector::parse(wire).unwrap();
        assert_eq!(selector.to_wire().peer, "2001:db8::/32");
        assert_eq!(Selector::parse(selector.to_wire()).unwrap(), selector);
    }
}
