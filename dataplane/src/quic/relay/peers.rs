//! The data planes of the Gateway, by the number that connection IDs have for them.

use std::{collections::HashMap, net::SocketAddr};

use tidegate_proto::v1;

use crate::quic::cid::server_id;

/// What the control plane said of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// `None`: one that takes no relayed packets.
    by_server: HashMap<u32, Option<SocketAddr>>,
    complete: bool,
}

impl Peers {
    /// What is known after news. As long as some may not have connected to whoever tells
    /// it, those that were known before are still there.
    #[must_use]
    pub fn after(&self, news: &v1::Peers) -> Self {
        let mut by_server = match news.complete {
            true => HashMap::new(),
            false => self.by_server.clone(),
        };
        by_server.extend(news.peers.iter().map(|peer| {
            let address = peer.relay_address.parse().ok();
            (server_id(&peer.dataplane_id), address)
        }));
        Self {
            by_server,
            complete: news.complete,
        }
    }

    /// The same when nobody tells any more who comes.
    #[must_use]
    pub fn unattended(&self) -> Self {
        Self {
            complete: false,
            ..self.clone()
        }
    }

    /// Whether there is a data plane of this number.
    pub fn knows(&self, server: u32) -> bool {
        self.by_server.contains_key(&server)
    }

    /// Whether who is not known is not there.
    pub fn complete(&self) -> bool {
        self.complete
    }

    /// Where to send packets of its connections.
    pub fn address(&self, server: u32) -> Option<SocketAddr> {
        self.by_server.get(&server).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(peers: &[(&str, &str)], complete: bool) -> v1::Peers {
        let peer = |(id, address): &(&str, &str)| v1::Peer {
            dataplane_id: (*id).into(),
            relay_address: (*address).into(),
        };
        v1::Peers {
            peers: peers.iter().map(peer).collect(),
            complete,
        }
    }

    #[test]
    fn a_complete_list_replaces_what_was_known() {
        let (a, b) = (server_id("a"), server_id("b"));
        let peers = Peers::default().after(&news(&[("a", "10.0.0.1:9094"), ("b", "")], true));
        assert_eq!(peers.address(a), "10.0.0.1:9094".parse().ok());
        assert!(peers.knows(b) && peers.address(b).is_none());
        let peers = peers.after(&news(&[("b", "10.0.0.2:9094")], true));
        assert!(!peers.knows(a) && peers.complete());
        assert!(peers.address(b).is_some());
    }

    #[test]
    fn nobody_is_given_up_by_a_list_that_is_not_complete() {
        let a = server_id("a");
        let peers = Peers::default().after(&news(&[("a", "10.0.0.1:9094")], true));
        let peers = peers.after(&news(&[], false));
        assert!(peers.knows(a) && !peers.complete());
        let peers = peers.after(&news(&[("a", "10.0.0.9:9094")], false));
        assert_eq!(peers.address(a), "10.0.0.9:9094".parse().ok());
        assert!(!peers.after(&news(&[], true)).knows(a));
    }

    #[test]
    fn without_a_control_plane_nobody_is_said_to_be_gone() {
        let peers = Peers::default().after(&news(&[("a", "10.0.0.1:9094")], true));
        let alone = peers.unattended();
        assert!(alone.knows(server_id("a")) && !alone.complete());
    }
}
