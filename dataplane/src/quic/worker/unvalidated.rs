//! What a client may be sent before its address is validated (RFC 9000 8.1).
//!
//! quiche keeps that limit, but does not count the zeros that fill a datagram behind an
//! Initial packet, and with those it sends more than it may.

use super::coalesced::{HANDSHAKE, LONG_HEADER, TYPE, after_long};
use crate::quic::QuicheConnection;

/// Counts bytes to and from an address until it is known to be the client's.
pub(super) struct Unvalidated(Option<Bytes>);

#[derive(Default)]
struct Bytes {
    received: usize,
    sent: usize,
}

impl Unvalidated {
    pub(super) fn new(validated: bool) -> Self {
        Self((!validated).then(Bytes::default))
    }

    /// So much came from that address.
    pub(super) fn received(&mut self, len: usize) {
        if let Some(bytes) = &mut self.0 {
            bytes.received += len;
        }
    }

    /// A datagram is about to be fed. If it may validate the address, wherever it came from:
    /// how many packets quiche has taken by then, if it does.
    pub(super) fn feed(&self, datagram: &[u8], qconn: &QuicheConnection) -> Option<usize> {
        self.0.as_ref()?;
        let packets = packets_with_handshake(datagram)?;
        Some(qconn.stats().recv + packets)
    }

    /// The datagram was fed.
    pub(super) fn fed(&mut self, expected: Option<usize>, qconn: &QuicheConnection) {
        if expected.is_some_and(|expected| qconn.stats().recv == expected) {
            self.end();
        }
    }

    pub(super) fn end(&mut self) {
        self.0 = None;
    }

    /// How much of `size` may be sent.
    pub(super) fn limit(&self, size: usize) -> usize {
        self.0.as_ref().map_or(size, |bytes| size.min(bytes.room()))
    }

    pub(super) fn sent(&mut self, len: usize) {
        if let Some(bytes) = &mut self.0 {
            bytes.sent += len;
        }
    }
}

impl Bytes {
    fn room(&self) -> usize {
        (self.received * LIMIT).saturating_sub(self.sent)
    }
}

/// How many packets are in a datagram, if one of them is a Handshake packet. If quiche takes
/// all of them, the client has read what was sent to its address.
fn packets_with_handshake(mut datagram: &[u8]) -> Option<usize> {
    let (mut packets, mut handshake) = (0, false);
    while let Some(&first) = datagram.first() {
        packets += 1;
        if first & LONG_HEADER == 0 {
            // It fills the rest.
            break;
        }
        handshake |= first & TYPE == HANDSHAKE;
        datagram = after_long(datagram)?;
    }
    handshake.then_some(packets)
}

const LIMIT: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quic::worker::coalesced::{INITIAL, tests::long};

    #[test]
    fn room_is_three_times_what_came_until_the_address_is_validated() {
        let mut unvalidated = Unvalidated::new(false);
        assert_eq!(unvalidated.limit(1350), 0);
        unvalidated.received(1200);
        unvalidated.sent(2400);
        assert_eq!(unvalidated.limit(1350), 1200);
        unvalidated.sent(1300);
        assert_eq!(unvalidated.limit(1350), 0);
        unvalidated.end();
        assert_eq!(unvalidated.limit(1350), 1350);
        assert_eq!(Unvalidated::new(true).limit(1350), 1350);
    }

    #[test]
    fn handshake_packets_are_found_wherever_they_are() {
        let (initial, handshake) = (long(INITIAL, 30), long(HANDSHAKE, 40));
        let short = vec![0x40; 30];
        assert_eq!(packets_with_handshake(&initial), None);
        assert_eq!(packets_with_handshake(&short), None);
        assert_eq!(packets_with_handshake(&handshake), Some(1));
        let coalesced = [&initial[..], &handshake, &short].concat();
        assert_eq!(packets_with_handshake(&coalesced), Some(3));
        let cut = &handshake[..handshake.len() - 1];
        assert_eq!(packets_with_handshake(cut), None);
        assert_eq!(packets_with_handshake(&[]), None);
    }
}
