//! The packet that closes a connection, kept for as long as the client may not have it.
//!
//! RFC 9000 10.2.1: while it closes, an endpoint answers packets with its CONNECTION_CLOSE,
//! and ever more seldom, because two endpoints could go on answering each other. quiche
//! sends the frame once.

use std::net::SocketAddr;

/// A copy of the last datagram that was sent after the close.
#[derive(Default)]
pub(super) struct Farewell {
    datagram: Option<(Vec<u8>, SocketAddr, SocketAddr)>,
    asked: u32,
}

impl Farewell {
    pub(super) fn keep(&mut self, datagram: &[u8], from: SocketAddr, to: SocketAddr) {
        self.datagram = Some((datagram.to_vec(), from, to));
    }

    /// Packets came although the connection is closed: what to answer, if it is time.
    pub(super) fn answer(&mut self) -> Option<(&[u8], SocketAddr, SocketAddr)> {
        self.asked += 1;
        let (datagram, from, to) = self.datagram.as_ref()?;
        self.asked
            .is_power_of_two()
            .then_some((datagram, *from, *to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_rare() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut farewell = Farewell::default();
        assert!(farewell.answer().is_none(), "there is nothing to say yet");
        farewell.keep(b"close", address, address);
        let answered: Vec<u32> = (2..=40).filter(|_| farewell.answer().is_some()).collect();
        assert_eq!(answered, [2, 4, 8, 16, 32]);
    }
}
