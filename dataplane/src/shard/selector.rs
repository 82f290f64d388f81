//! Which connections an operator means.

use tidegate_proto::v1;

use crate::snapshot::Cidr;

/// A [`v1::Selector`] whose fields were understood.
pub(super) struct Selection {
    selector: v1::Selector,
    peer: Option<Cidr>,
}

impl Selection {
    /// # Errors
    /// Says which field is wrong, and what it should be.
    pub(super) fn new(mut selector: v1::Selector) -> Result<Self, String> {
        let peer = match selector.peer.as_str() {
            "" => None,
            text => Some(
                text.parse()
                    .map_err(|error| format!("selector.peer: {error}"))?,
            ),
        };
        selector.server_name.make_ascii_lowercase();
        Ok(Self { selector, peer })
    }

    /// Whether every field that is set holds.
    pub(super) fn chooses(&self, connection: &v1::Connection) -> bool {
        let Self { selector, peer } = self;
        let tls = connection.tls.as_ref();
        let equal = |wanted: &str, found: Option<&str>| wanted.is_empty() || found == Some(wanted);
        equal(
            &selector.server_name,
            tls.map(|tls| tls.server_name.as_str()),
        ) && equal(&selector.alpn, tls.map(|tls| tls.alpn.as_str()))
            && equal(&selector.listener, Some(&connection.listener_id))
            && connection.age_ms >= selector.min_age_ms
            && (selector.max_age_ms == 0 || connection.age_ms <= selector.max_age_ms)
            && peer.as_ref().is_none_or(|range| {
                let address: Result<std::net::SocketAddr, _> = connection.peer_address.parse();
                address.is_ok_and(|address| range.contains(address.ip()))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> v1::Connection {
        v1::Connection {
            listener_id: "default/edge/https".into(),
            peer_address: "192.0.2.7:4711".into(),
            age_ms: 5_000,
            tls: Some(v1::TlsInfo {
                server_name: "shop.example".into(),
                alpn: "h3".into(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn chooses(selector: v1::Selector) -> bool {
        Selection::new(selector).unwrap().chooses(&connection())
    }

    #[test]
    fn every_field_that_is_set_must_hold() {
        let all = v1::Selector {
            server_name: "Shop.example".into(),
            peer: "192.0.2.0/24".into(),
            listener: "default/edge/https".into(),
            min_age_ms: 5_000,
            max_age_ms: 5_000,
            alpn: "h3".into(),
        };
        assert!(chooses(v1::Selector::default()) && chooses(all.clone()));
        assert!(!chooses(v1::Selector {
            server_name: "example".into(),
            ..all.clone()
        }));
        assert!(!chooses(v1::Selector {
            peer: "198.51.100.0/24".into(),
            ..all.clone()
        }));
        assert!(!chooses(v1::Selector {
            listener: "default/edge/http".into(),
            ..all.clone()
        }));
        assert!(!chooses(v1::Selector {
            min_age_ms: 5_001,
            ..all.clone()
        }));
        assert!(!chooses(v1::Selector {
            max_age_ms: 4_999,
            ..all.clone()
        }));
        assert!(!chooses(v1::Selector {
            alpn: "h2".into(),
            ..all
        }));
    }

    #[test]
    fn a_range_that_is_none_is_named() {
        let selector = v1::Selector {
            peer: "300.0.0.0/8".into(),
            ..Default::default()
        };
        assert!(
            Selection::new(selector)
                .err()
                .unwrap()
                .starts_with("selector.peer:")
        );
    }
}
