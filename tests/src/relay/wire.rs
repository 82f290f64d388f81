//! What anybody on the way sees of QUIC: sizes, and the types of packets with long headers.

use std::{sync::Mutex, time::Instant};

use octets::Octets;

/// So many datagrams of a relay are noted, which is more than any handshake of a test.
const MOST_NOTED: usize = 4096;

/// A datagram that reached the gateway, or that it sent.
#[derive(Clone, Debug)]
pub struct Passed {
    /// The how-manieth client of the relay it belongs to, from 0.
    pub client: u64,
    pub from_client: bool,
    pub length: usize,
    /// When that was.
    pub at: Instant,
    /// Its packets in order; what follows one with a short header belongs to that.
    pub packets: Vec<PacketType>,
}

/// RFC 9000 17.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketType {
    Initial,
    ZeroRtt,
    Handshake,
    Retry,
    VersionNegotiation,
    Short,
}

/// The first datagrams that passed.
#[derive(Default)]
pub(super) struct Wire(Mutex<Vec<Passed>>);

impl Wire {
    pub(super) fn note(&self, client: u64, from_client: bool, datagram: &[u8]) {
        let mut passed = self.0.lock().expect("no panic holds it");
        if passed.len() < MOST_NOTED {
            passed.push(Passed {
                client,
                from_client,
                length: datagram.len(),
                at: Instant::now(),
                packets: packets(datagram),
            });
        }
    }

    pub(super) fn passed(&self) -> Vec<Passed> {
        self.0.lock().expect("no panic holds it").clone()
    }
}

/// Types of a datagram's packets, as far as they can be told.
fn packets(mut datagram: &[u8]) -> Vec<PacketType> {
    let mut types = Vec::new();
    while let Some((packet, rest)) = packet(datagram) {
        types.push(packet);
        datagram = rest;
    }
    types
}

fn packet(datagram: &[u8]) -> Option<(PacketType, &[u8])> {
    if datagram.first()? & 0x80 == 0 {
        return Some((PacketType::Short, &[]));
    }
    let mut bytes = Octets::with_slice(datagram);
    let first = bytes.get_u8().ok()?;
    if bytes.get_u32().ok()? == 0 {
        return Some((PacketType::VersionNegotiation, &[]));
    }
    for _ in 0..2 {
        bytes.get_bytes_with_u8_length().ok()?;
    }
    let packet = match first & 0x30 {
        0x00 => {
            bytes.get_bytes_with_varint_length().ok()?;
            PacketType::Initial
        }
        0x10 => PacketType::ZeroRtt,
        0x20 => PacketType::Handshake,
        _ => return Some((PacketType::Retry, &[])),
    };
    bytes.get_bytes_with_varint_length().ok()?;
    Some((packet, &datagram[bytes.off()..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Forge, Kind};

    #[test]
    fn packets_are_told_apart() {
        let mut forge = Forge::new(1);
        assert_eq!(
            packets(&forge.make(Kind::InitialTrue)),
            [PacketType::Initial]
        );
        let mut datagram = forge.make(Kind::InitialTrue);
        datagram.extend([0x40; 30]);
        assert_eq!(packets(&datagram), [PacketType::Initial, PacketType::Short]);
        assert_eq!(
            packets(&forge.make(Kind::RetryFromClient)),
            [PacketType::Retry]
        );
        assert_eq!(packets(&[]), []);
        assert_eq!(packets(&[0xc0, 0, 0]), []);
    }
}
