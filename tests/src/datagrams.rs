//! Datagrams that no honest client sends, of every kind that a listener must survive.

use std::net::{Ipv4Addr, SocketAddr};

use rand::{RngExt, SeedableRng, rngs::StdRng};

const QUIC_V1: u32 = 1;
/// RFC 9000 14.1: smallest datagram with an Initial.
const SMALLEST_INITIAL: usize = 1200;
const LONGEST: usize = 1452;

/// A kind of hostile datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Empty,
    RandomBytes,
    UnknownVersion,
    UnknownVersionTooShort,
    InitialTooShort,
    InitialGarbage,
    /// A true first flight, which the server must answer without amplifying.
    InitialTrue,
    /// The same true first flight again and again.
    InitialReplayed,
    InitialTruncated,
    InitialFlipped,
    InitialForgedToken,
    InitialLongCid,
    Handshake,
    ZeroRtt,
    RetryFromClient,
    VersionNegotiationFromClient,
    ShortHeaderForgedCid,
    ShortHeaderTooShort,
    CoalescedJunk,
}

impl Kind {
    /// All kinds; true first flights are rarest, because each costs a handshake.
    pub const ALL: [Self; 19] = [
        Self::Empty,
        Self::RandomBytes,
        Self::UnknownVersion,
        Self::UnknownVersionTooShort,
        Self::InitialTooShort,
        Self::InitialGarbage,
        Self::InitialTrue,
        Self::InitialReplayed,
        Self::InitialTruncated,
        Self::InitialFlipped,
        Self::InitialForgedToken,
        Self::InitialLongCid,
        Self::Handshake,
        Self::ZeroRtt,
        Self::RetryFromClient,
        Self::VersionNegotiationFromClient,
        Self::ShortHeaderForgedCid,
        Self::ShortHeaderTooShort,
        Self::CoalescedJunk,
    ];
}

/// Makes hostile datagrams by a seeded generator.
pub struct Forge {
    random: StdRng,
    tls: quiche::Config,
    replayed: Vec<u8>,
}

impl Forge {
    pub fn new(seed: u64) -> Self {
        let mut tls = quiche::Config::new(quiche::PROTOCOL_VERSION).expect("the version is known");
        tls.set_application_protos(&[b"h3"]).expect("one name");
        tls.set_initial_max_data(1 << 20);
        tls.set_initial_max_streams_bidi(10);
        tls.set_initial_max_streams_uni(10);
        tls.set_max_idle_timeout(1000);
        let mut forge = Self {
            random: StdRng::seed_from_u64(seed),
            tls,
            replayed: Vec::new(),
        };
        forge.replayed = forge.first_flight();
        forge
    }

    /// A datagram of the kind.
    pub fn make(&mut self, kind: Kind) -> Vec<u8> {
        match kind {
            Kind::Empty => Vec::new(),
            Kind::RandomBytes => {
                let length = self.random.random_range(1..LONGEST);
                self.bytes(length)
            }
            Kind::UnknownVersion => self.long(0xc0, 0x1a2a_3a4a, 8, SMALLEST_INITIAL),
            Kind::UnknownVersionTooShort => self.long(0xc0, 0x1a2a_3a4a, 8, 600),
            Kind::InitialTooShort => {
                let length = self.random.random_range(40..SMALLEST_INITIAL);
                let first = self.first_flight();
                first[..length].to_vec()
            }
            Kind::InitialGarbage => self.initial(&[], SMALLEST_INITIAL),
            Kind::InitialTrue => self.first_flight(),
            Kind::InitialReplayed => self.replayed.clone(),
            Kind::InitialTruncated => {
                let length = self.random.random_range(1..self.replayed.len());
                self.replayed[..length].to_vec()
            }
            Kind::InitialFlipped => {
                let mut datagram = self.replayed.clone();
                for _ in 0..self.random.random_range(1..8) {
                    let at = self.random.random_range(0..datagram.len());
                    datagram[at] ^= 1 << self.random.random_range(0..8);
                }
                datagram
            }
            Kind::InitialForgedToken => {
                let length = self.random.random_range(1..200);
                let token = self.bytes(length);
                self.initial(&token, SMALLEST_INITIAL)
            }
            // RFC 9000 17.2: at most 20 bytes in version 1.
            Kind::InitialLongCid => self.long(0xc0, QUIC_V1, 255, SMALLEST_INITIAL),
            Kind::Handshake => self.long(0xe0, QUIC_V1, 17, 300),
            Kind::ZeroRtt => self.long(0xd0, QUIC_V1, 8, SMALLEST_INITIAL),
            Kind::RetryFromClient => self.long(0xf0, QUIC_V1, 17, 200),
            Kind::VersionNegotiationFromClient => self.long(0x80, 0, 8, 60),
            Kind::ShortHeaderForgedCid => {
                let length = self.random.random_range(40..LONGEST);
                let mut datagram = self.bytes(length);
                datagram[0] = 0x40 | (datagram[0] & 0x3f);
                datagram
            }
            Kind::ShortHeaderTooShort => {
                let length = self.random.random_range(1..24);
                let mut datagram = self.bytes(length);
                datagram[0] = 0x40 | (datagram[0] & 0x3f);
                datagram
            }
            Kind::CoalescedJunk => {
                let mut datagram = self.long(0xe0, QUIC_V1, 8, 400);
                datagram.extend(self.initial(&[], 900));
                datagram
            }
        }
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.random.fill(&mut bytes[..]);
        bytes
    }

    /// A long header, then noise up to `length`.
    fn long(&mut self, first: u8, version: u32, cid: u8, length: usize) -> Vec<u8> {
        let mut datagram = vec![first | (self.random.random::<u8>() & 0x0f)];
        datagram.extend(version.to_be_bytes());
        datagram.push(cid);
        let destination = self.bytes(cid.into());
        datagram.extend(destination);
        datagram.push(8);
        let rest = self.bytes(length.saturating_sub(datagram.len()));
        datagram.extend(rest);
        datagram
    }

    /// An Initial with sound lengths and a payload that no key opens.
    fn initial(&mut self, token: &[u8], length: usize) -> Vec<u8> {
        let mut datagram = vec![0xc3];
        datagram.extend(QUIC_V1.to_be_bytes());
        datagram.push(8);
        let destination = self.bytes(8);
        datagram.extend(destination);
        datagram.push(8);
        let source = self.bytes(8);
        datagram.extend(source);
        // Two-byte varints.
        datagram.extend((0x4000 | token.len() as u16).to_be_bytes());
        datagram.extend_from_slice(token);
        let rest = length - datagram.len() - 2;
        datagram.extend((0x4000 | rest as u16).to_be_bytes());
        let noise = self.bytes(rest);
        datagram.extend(noise);
        datagram
    }

    /// The first datagram of a real client.
    fn first_flight(&mut self) -> Vec<u8> {
        self.whole_first_flight().remove(0)
    }

    /// All that a real client sends at first.
    pub fn whole_first_flight(&mut self) -> Vec<Vec<u8>> {
        let source = self.bytes(8);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let mut connection = quiche::connect(
            Some("site.test"),
            &quiche::ConnectionId::from_ref(&source),
            address,
            address,
            &mut self.tls,
        )
        .expect("the configuration is sound");
        let mut flight = Vec::new();
        let mut datagram = vec![0; LONGEST];
        while let Ok((length, _)) = connection.send(&mut datagram) {
            flight.push(datagram[..length].to_vec());
        }
        assert!(!flight.is_empty(), "a client speaks first");
        flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn true_first_flights_are_initials_of_full_size() {
        let mut forge = Forge::new(1);
        let mut datagram = forge.make(Kind::InitialTrue);
        assert!(datagram.len() >= SMALLEST_INITIAL);
        let header = quiche::Header::from_slice(&mut datagram, 8).expect("it parses");
        assert_eq!(header.ty, quiche::Type::Initial);
    }

    #[test]
    fn forged_tokens_are_where_a_server_reads_tokens() {
        let mut forge = Forge::new(2);
        let mut datagram = forge.make(Kind::InitialForgedToken);
        let header = quiche::Header::from_slice(&mut datagram, 8).expect("it parses");
        assert!(header.token.is_some_and(|token| !token.is_empty()));
    }

    #[test]
    fn every_kind_can_be_made() {
        let mut forge = Forge::new(3);
        for kind in Kind::ALL {
            assert_eq!(forge.make(kind).is_empty(), kind == Kind::Empty, "{kind:?}");
        }
    }
}
