//! Several packets in one datagram (RFC 9000 12.2).

use quiche::RecvInfo;

use crate::quic::QuicheConnection;

/// Feeds a datagram. An error has closed the connection with the right code already, or a
/// packet was not for it; both show in its state.
///
/// A packet that quiche has no keys for costs it the rest of the datagram. Once the handshake
/// is complete those are packets of the handshake, which clients that leave early put before
/// the close.
pub(super) fn feed(qconn: &mut QuicheConnection, datagram: &mut [u8], info: RecvInfo) {
    let at = short_at(datagram);
    let at = if qconn.is_established() { at } else { 0 };
    let (long, rest) = datagram.split_at_mut(at);
    if !long.is_empty() {
        let _state_tells = qconn.recv(long, info);
    }
    let _state_tells = qconn.recv(rest, info);
}

/// Where a packet with a short header follows others, or 0.
fn short_at(datagram: &[u8]) -> usize {
    let mut rest = datagram;
    while let Some(&first) = rest.first() {
        if first & LONG_HEADER == 0 {
            return datagram.len() - rest.len();
        }
        match after_long(rest) {
            Some(after) => rest = after,
            None => return 0,
        }
    }
    0
}

/// What follows a packet with a long header (RFC 9000 17.2).
pub(super) fn after_long(packet: &[u8]) -> Option<&[u8]> {
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

pub(super) const LONG_HEADER: u8 = 0x80;
pub(super) const TYPE: u8 = 0x30;
pub(super) const INITIAL: u8 = 0x00;
pub(super) const HANDSHAKE: u8 = 0x20;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A packet with a long header, of this type and length.
    pub(in super::super) fn long(packet_type: u8, length: u8) -> Vec<u8> {
        let mut packet = vec![LONG_HEADER | packet_type, 0, 0, 0, 1, 2, 7, 7, 1, 9];
        if packet_type == INITIAL {
            packet.extend([1, 5]);
        }
        packet.push(length);
        packet.extend(vec![0; length.into()]);
        packet
    }

    #[test]
    fn a_short_header_is_found_behind_long_ones() {
        let (initial, handshake) = (long(INITIAL, 30), long(HANDSHAKE, 40));
        let short = vec![0x40; 30];
        let coalesced = [&initial[..], &handshake, &short].concat();
        assert_eq!(short_at(&coalesced), initial.len() + handshake.len());
        assert_eq!(short_at(&short), 0);
        assert_eq!(short_at(&handshake), 0);
        assert_eq!(short_at(&coalesced[..initial.len() + 5]), 0);
        assert_eq!(short_at(&[]), 0);
    }
}
