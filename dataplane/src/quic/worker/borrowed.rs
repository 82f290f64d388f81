//! Addresses of a client at which it goes by a connection ID that it began to use at another one.
//!
//! So it is when a network moves a client that knows nothing of it. quiche takes such an ID for
//! one of the path before: once the client has retired it, the path where it was borrowed still
//! refers to it, and whatever is to be sent there fails, and with it the connection. So the
//! client is asked to take another ID as soon as its new address is validated, and a path that
//! may go by a retired one is never probed.

use std::net::SocketAddr;

#[derive(Default)]
pub(super) struct Borrowed {
    /// Where the ID may still be borrowed.
    addresses: Vec<SocketAddr>,
    /// Where it may be retired.
    dead: Vec<SocketAddr>,
}

impl Borrowed {
    /// The client uses an ID of another path here.
    pub(super) fn at(&mut self, address: SocketAddr) {
        if !self.has(address) {
            self.addresses.push(address);
        }
    }

    /// The client has retired an ID, in a packet that was sent from here. The packet itself had
    /// another ID (RFC 9000 19.16), which is this path's now.
    pub(super) fn retired_from(&mut self, address: SocketAddr) {
        let others = self.addresses.drain(..).filter(|other| *other != address);
        self.dead.extend(others);
    }

    /// Whether the client should take another ID at this address.
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// Whether nothing can be sent on the path to this address.
    pub(super) fn is_dead(&self, address: SocketAddr) -> bool {
        self.dead.contains(&address)
    }

    /// The client has come back, with an ID that is in use.
    pub(super) fn revived(&mut self, address: SocketAddr) {
        self.dead.retain(|other| *other != address);
    }

    /// quiche has forgotten the path.
    pub(super) fn closed(&mut self, address: SocketAddr) {
        self.addresses.retain(|other| *other != address);
        self.dead.retain(|other| *other != address);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::Borrowed;

    fn address(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn an_id_that_is_retired_from_elsewhere_leaves_its_borrowers_dead() {
        let mut borrowed = Borrowed::default();
        borrowed.at(address(1));
        borrowed.at(address(2));
        borrowed.retired_from(address(2));
        assert!(borrowed.is_dead(address(1)));
        assert!(!borrowed.is_dead(address(2)) && !borrowed.has(address(2)));
        borrowed.revived(address(1));
        assert!(!borrowed.is_dead(address(1)));
    }

    #[test]
    fn an_id_that_nobody_retired_may_be_used_on() {
        let mut borrowed = Borrowed::default();
        borrowed.at(address(1));
        assert!(borrowed.has(address(1)) && !borrowed.is_dead(address(1)));
    }
}
