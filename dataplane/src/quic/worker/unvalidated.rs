//! What a client may be sent before its address is validated (RFC 9000 8.1).
//!
//! quiche keeps that limit, but does not count the zeros that fill a datagram behind an
//! Initial packet, and with those it sends more than it may.

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

    /// A datagram is about to be fed. If it may validate the address: how many packets quiche
    /// has taken by then, if it does.
    pub(super) fn feed(&mut self, datagram: &[u8], qconn: &QuicheConnection) -> Option<usize> {
        let bytes = self.0.as_mut()?;
        bytes.received += datagram.len();
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

/// What follows a packet with a long header (RFC 9000 17.2).
fn after_long(packet: &[u8]) -> Option<&[u8]> {
    let mut rest = packet.get(5..)?;
    for _ in 0..2 {
        let length = usize::from(*rest.first()?);
        rest = rest.get(1 + length..)?;
    }
    if packet[0] & TYPE == INITIAL {
        let (token, after) = varint(rest)?;
        rest = after.get(token..)?;
    }
    let (length, after) = varint(rest)?;
    after.get(length..)
}

fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let size = 1 << (bytes.first()? >> 6);
    let (field, rest) = bytes.split_at_checked(size)?;
    let first = usize::from(field[0] & 0x3f);
    let value = (field[1..].iter()).fold(first, |value, byte| value << 8 | usize::from(*byte));
    Some((value, rest))
}

const LIMIT: usize = 3;
const LONG_HEADER: u8 = 0x80;
const TYPE: u8 = 0x30;
const INITIAL: u8 = 0x00;
const HANDSHAKE: u8 = 0x20;

#[cfg(test)]
mod tests {
    use super::*;

    fn long(packet_type: u8, length: u8) -> Vec<u8> {
        let mut packet = vec![LONG_HEADER | packet_type, 0, 0, 0, 1, 2, 7, 7, 1, 9];
        if packet_type == INITIAL {
            packet.extend([1, 5]);
        }
        packet.push(length);
        packet.extend(vec![0; length.into()]);
        packet
    }

    #[test]
    fn room_is_three_times_what_came_until_the_address_is_validated() {
        let mut unvalidated = Unvalidated::new(false);
        assert_eq!(unvalidated.limit(1350), 0);
        unvalidated.0.as_mut().unwrap().received += 1200;
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
