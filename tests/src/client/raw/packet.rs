//! Packets of QUIC version 1 (RFC 9000 17) and their protection (RFC 9001 5).

use rustls::quic::DirectionalKeys;

use super::frame::Bytes;

const VERSION: [u8; 4] = [0, 0, 0, 1];
/// RFC 9001 5.4.2: where the sample begins, counted from the packet number.
const SAMPLE_AT: usize = 4;
const SAMPLE: usize = 16;
const TAG: usize = 16;
const LONG: u8 = 0x80;
const FIXED: u8 = 0x40;
/// Packet numbers are sent in four bytes.
const NUMBER: usize = 4;

/// Under which keys a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Initial,
    ZeroRtt,
    Handshake,
    OneRtt,
}

impl Level {
    fn long_type(self) -> Option<u8> {
        match self {
            Self::Initial => Some(0x00),
            Self::ZeroRtt => Some(0x10),
            Self::Handshake => Some(0x20),
            Self::OneRtt => None,
        }
    }
}

/// A packet before it is protected.
pub(super) struct Draft<'a> {
    pub(super) level: Level,
    pub(super) destination: &'a [u8],
    pub(super) source: &'a [u8],
    /// Of an Initial.
    pub(super) token: &'a [u8],
    pub(super) number: u64,
    /// Reserved bits of the first byte, which must be zero.
    pub(super) reserved: u8,
    pub(super) frames: Vec<u8>,
}

impl Draft<'_> {
    pub(super) fn protect(self, keys: &DirectionalKeys) -> Vec<u8> {
        let mut packet = vec![FIXED | self.reserved | (NUMBER as u8 - 1)];
        if let Some(long_type) = self.level.long_type() {
            packet[0] |= LONG | long_type;
            packet.extend(VERSION);
            packet.push(self.destination.len() as u8);
            packet.extend(self.destination);
            packet.push(self.source.len() as u8);
            packet.extend(self.source);
            if self.level == Level::Initial {
                let length = Bytes::new().numbers(&[self.token.len() as u64]);
                packet.extend(length.bytes(self.token).done());
            }
            let length = NUMBER + self.frames.len() + TAG;
            packet.extend((0x4000 | length as u16).to_be_bytes());
        } else {
            packet.extend(self.destination);
        }
        let number_at = packet.len();
        packet.extend((self.number as u32).to_be_bytes());
        let mut payload = self.frames;
        let sealed = keys
            .packet
            .encrypt_in_place(self.number, &packet, &mut payload);
        packet.extend(payload);
        packet.extend(sealed.expect("the packet is short").as_ref());
        let (header, sample) = packet.split_at_mut(number_at + SAMPLE_AT);
        let (head, number) = header.split_at_mut(number_at);
        (keys.header)
            .encrypt_in_place(&sample[..SAMPLE], &mut head[0], number)
            .expect("the sample is whole");
        packet
    }
}

/// Where a packet is within a datagram.
pub(super) struct Found {
    pub(super) level: Level,
    /// What its sender wants to be called; with long headers only.
    pub(super) source: Vec<u8>,
    number_at: usize,
    end: usize,
}

/// The packet that begins there, if it is one that these keys can be for.
pub(super) fn find(datagram: &[u8], at: usize, own_id: usize) -> Option<Found> {
    let first = *datagram.get(at)?;
    if first & LONG == 0 {
        return Some(Found {
            level: Level::OneRtt,
            source: Vec::new(),
            number_at: at + 1 + own_id,
            end: datagram.len(),
        });
    }
    let level = match first & 0x30 {
        0x00 => Level::Initial,
        0x20 => Level::Handshake,
        _ => return None,
    };
    let mut rest = octets::Octets::with_slice(datagram.get(at + 1 + VERSION.len()..)?);
    let _destination = rest.get_bytes_with_u8_length().ok()?;
    let source = rest.get_bytes_with_u8_length().ok()?.to_vec();
    if level == Level::Initial {
        rest.get_bytes_with_varint_length().ok()?;
    }
    let length = usize::try_from(rest.get_varint().ok()?).ok()?;
    let number_at = at + 1 + VERSION.len() + rest.off();
    let end = number_at.checked_add(length)?;
    (end <= datagram.len()).then_some(Found {
        level,
        source,
        number_at,
        end,
    })
}

impl Found {
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Number and frames, if the keys open it.
    pub(super) fn open(
        &self,
        datagram: &mut [u8],
        at: usize,
        keys: &DirectionalKeys,
        largest: u64,
    ) -> Option<(u64, Vec<u8>)> {
        let packet = datagram.get_mut(at..self.end)?;
        let number_at = self.number_at - at;
        let (header, sample) = packet.split_at_mut_checked(number_at + SAMPLE_AT)?;
        let (head, number) = header.split_at_mut(number_at);
        (keys.header)
            .decrypt_in_place(sample.get(..SAMPLE)?, head.first_mut()?, number)
            .ok()?;
        let size = usize::from(head[0] & 0x03) + 1;
        let number = (number[..size].iter()).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let number = expand(number, size, largest);
        let (header, payload) = packet.split_at_mut(number_at + size);
        let frames = keys.packet.decrypt_in_place(number, header, payload).ok()?;
        Some((number, frames.to_vec()))
    }
}

/// RFC 9000 A.3.
fn expand(truncated: u64, size: usize, largest: u64) -> u64 {
    let window = 1u64 << (8 * size);
    let expected = largest + 1;
    let candidate = (expected & !(window - 1)) | truncated;
    if candidate + window / 2 <= expected {
        candidate + window
    } else if candidate > expected + window / 2 && candidate >= window {
        candidate - window
    } else {
        candidate
    }
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn packet_numbers_are_expanded_as_in_the_rfc() {
        assert_eq!(expand(0x9b32, 2, 0xa82f_30ea), 0xa82f_9b32);
        assert_eq!(expand(0, 1, 255), 256);
        assert_eq!(expand(255, 1, 256), 255);
    }
}
