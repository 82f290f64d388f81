//! The way back to each address of one client.

use std::net::SocketAddr;

use super::Via;

/// Addresses whose packets came by way of another data plane, the newest last. Those that
/// are not here are reached straight.
#[derive(Debug, Default)]
pub(crate) struct Vias(Vec<(SocketAddr, Via)>);

impl Vias {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn of(&self, client: SocketAddr) -> Option<Via> {
        let mut known = self.0.iter();
        known
            .find(|(address, _)| *address == client)
            .map(|(_, via)| *via)
    }

    /// The client's packets come this way now; `None`: straight.
    pub(crate) fn learn(&mut self, client: SocketAddr, via: Option<Via>) {
        self.0.retain(|(address, _)| *address != client);
        if let Some(via) = via {
            if self.0.len() >= MOST {
                self.0.remove(0);
            }
            self.0.push((client, via));
        }
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }
}

/// The current address, the one before, and some that are being tried.
const MOST: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn via(port: u16) -> Via {
        Via {
            relay: address(port),
            local: address(443),
        }
    }

    #[test]
    fn the_last_way_counts_and_a_straight_one_ends_it() {
        let mut vias = Vias::default();
        assert_eq!(vias.of(address(1)), None);
        vias.learn(address(1), Some(via(10)));
        vias.learn(address(1), Some(via(20)));
        assert_eq!(vias.of(address(1)), Some(via(20)));
        assert_eq!(vias.of(address(2)), None);
        vias.learn(address(1), None);
        assert!(vias.is_empty());
    }

    #[test]
    fn a_client_that_moves_all_the_time_is_not_remembered_everywhere() {
        let mut vias = Vias::default();
        for port in 1..=10 {
            vias.learn(address(port), Some(via(port)));
        }
        assert_eq!(vias.0.len(), MOST);
        assert_eq!(vias.of(address(6)), None);
        assert_eq!(vias.of(address(10)), Some(via(10)));
    }
}
