//! A client's keys, and what came for it.

use std::collections::{BTreeMap, BTreeSet};

use quiche::{
    Connection, ConnectionId,
    fuzzing::{self, Opened},
};

/// Seals what it is told to.
pub(super) struct Hand {
    client: Connection,
    /// Of the next packet.
    number: u64,
    /// Packets that came and were not acknowledged.
    came: BTreeSet<u64>,
    largest: u64,
    challenges: Vec<(u8, [u8; 8])>,
    /// What came on streams: pieces that were told to be the last ones.
    last: BTreeMap<u64, Vec<u8>>,
}

impl Hand {
    pub(super) fn new(client: Connection) -> Self {
        Self {
            client,
            // More than the handshake took.
            number: 1000,
            came: BTreeSet::new(),
            largest: 0,
            challenges: Vec::new(),
            last: BTreeMap::new(),
        }
    }

    /// Leaves out packet numbers.
    pub(super) fn skip(&mut self, count: u8) {
        self.number += u64::from(count);
    }

    pub(super) fn seal(&mut self, dcid: &ConnectionId<'_>, frames: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; frames.len() + 64];
        self.number += 1;
        let len = fuzzing::seal(&mut self.client, dcid, self.number, frames, &mut packet);
        packet.truncate(len.expect("there are keys and room"));
        packet
    }

    /// What the gateway sends can be read, whatever the connection ID that it was given.
    pub(super) fn open(&mut self, who: u8, packet: &[u8]) {
        // Those of the handshake that are sent again.
        if packet[0] & 0x80 != 0 {
            return;
        }
        let opened = [16].into_iter().chain(1..=20).find_map(|len| {
            let mut packet = packet.to_vec();
            fuzzing::open(&self.client, self.largest, len, &mut packet).ok()
        });
        let Opened {
            pkt_num,
            challenges,
            streams,
        } = opened.expect("a packet with frames");
        assert!(!self.came.contains(&pkt_num), "{pkt_num} is used again");
        self.came.insert(pkt_num);
        self.largest = self.largest.max(pkt_num);
        self.challenges
            .extend(challenges.into_iter().map(|data| (who, data)));
        let last = streams.into_iter().filter(|(_, _, fin)| *fin);
        self.last.extend(last.map(|(id, data, _)| (id, data)));
    }

    /// ACK frames for all that came, in as many packets as they take.
    pub(super) fn acknowledgements(&mut self) -> Vec<Vec<u8>> {
        let came: Vec<u64> = std::mem::take(&mut self.came).into_iter().collect();
        let frame = |number: &u64| [&[0x02][..], &varint(*number), &[0, 0, 0]].concat();
        came.chunks(100)
            .map(|numbers| numbers.iter().flat_map(frame).collect())
            .collect()
    }

    /// Those that came, and where they came.
    pub(super) fn take_challenges(&mut self) -> Vec<(u8, [u8; 8])> {
        std::mem::take(&mut self.challenges)
    }

    /// Whether these bytes came at the end of a stream.
    pub(super) fn has(&self, id: u64, end: &[u8]) -> bool {
        self.last.get(&id).is_some_and(|data| data == end)
    }
}

/// RFC 9000 16, in its longest form.
pub(super) fn varint(value: u64) -> [u8; 8] {
    (value | 0b11 << 62).to_be_bytes()
}
