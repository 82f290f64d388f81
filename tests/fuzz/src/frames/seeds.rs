//! Connections to begin with.

use super::hand::varint;

/// Each with its name.
pub(crate) fn all() -> Vec<(&'static str, Vec<u8>)> {
    let stream = |id: u64, at: u64, data: &[u8]| {
        let head = [&[0x0f][..], &varint(id), &varint(at), &[data.len() as u8]].concat();
        [&head, data].concat()
    };
    let new_id = |number: u8, before: u8| {
        let mut frame = vec![0x18, number, before, 8];
        frame.extend([number; 24]);
        frame
    };
    // PADDING, PING, an empty DATA_BLOCKED, STREAM_DATA_BLOCKED, STREAMS_BLOCKED twice, and
    // MAX_DATA, MAX_STREAM_DATA, MAX_STREAMS twice.
    let small = b"\0\x01\x14\x05\x15\0\x05\x16\x04\x17\x04\x10\x50\0\x11\0\x50\0\x12\x05\x13\x05";
    vec![
        (
            "echo",
            [&[CUBIC][..], &packet(TURN, &stream(0, 0, b"hello")), &ACK].concat(),
        ),
        ("small", [&[BBR2][..], &packet(TURN, small)].concat()),
        (
            "acks",
            // Of what the gateway says, in ranges, with ECN's counts, and of what it never sent.
            [
                &[BBR2 | RELEASED][..],
                &SAY,
                &packet(0, &[0x02, 5, 0, 1, 0, 0, 0]),
                &packet(TURN, &[0x03, 6, 1, 0, 0, 1, 1, 1]),
                &packet(TURN, &[0x02, 0x50, 0, 0, 0, 0]),
            ]
            .concat(),
        ),
        (
            "gaps",
            // Streams in pieces, backwards; the end, and another end.
            [
                &[CUBIC][..],
                &packet(
                    0,
                    &[stream(4, 9, b"d"), stream(4, 6, b"c"), stream(4, 3, b"b")].concat(),
                ),
                &packet(TURN, &stream(4, 0, b"a")),
                &packet(TURN, &[0x04, 4, 1, 0x10]),
                &packet(TURN, &[0x05, 0, 1]),
                &packet(TURN, &stream(4, 20, b"z")),
            ]
            .concat(),
        ),
        (
            "ids",
            [
                &[CUBIC][..],
                &packet(TURN, &[new_id(1, 0), new_id(2, 1)].concat()),
                &ACK,
                // To another ID, with which the first is retired.
                &[0x08, 1, 0, 2, 0, 0x19, 0],
                &packet(TURN, &[new_id(3, 3)].concat()),
            ]
            .concat(),
        ),
        (
            "moves",
            [
                &[CUBIC][..],
                &packet(TURN, &new_id(1, 0)),
                // A probe from elsewhere, and a move.
                &[0x09, 1, 0, 9, 0, 0x1a, 1, 2, 3, 4, 5, 6, 7, 8],
                &ANSWER,
                &[0x0a, 0, 0, 1, 0, 0x01],
                &ANSWER,
                &SAY,
                &packet(TURN, &[0x01]),
            ]
            .concat(),
        ),
        (
            "crypto",
            // A KeyUpdate of TLS, which is not for QUIC.
            [&[CUBIC][..], &packet(TURN, &[0x06, 0, 5, 24, 0, 0, 1, 0])].concat(),
        ),
        (
            "datagram",
            [&[BBR2, REST][..], &packet(TURN, b"\x31\x05hello\x30hello")].concat(),
        ),
        (
            "close",
            [&[CUBIC][..], &packet(TURN, b"\x1d\x40\xff\x02no")].concat(),
        ),
        (
            "numbers",
            // Each packet leaves one out, so that all are ranges of their own.
            [&[CUBIC][..], &[0, 0, 1, 1, 0, 0x01].repeat(100), &ACK].concat(),
        ),
        ("empty", [&[CUBIC][..], &packet(TURN, &[])].concat()),
    ]
}

/// From the client's address to its first connection ID.
fn packet(turn: u8, frames: &[u8]) -> Vec<u8> {
    let [len @ .., _, _] = (frames.len() as u32).to_le_bytes();
    [&[turn, 0, 0][..], &len, frames].concat()
}

const CUBIC: u8 = 0;
const BBR2: u8 = 1;
const RELEASED: u8 = 2;
/// A turn of the gateway behind an act.
const TURN: u8 = 0x08;
const ACK: [u8; 1] = [0x80 | TURN];
const ANSWER: [u8; 1] = [0x81 | TURN];
const REST: u8 = 0x82;
const SAY: [u8; 2] = [0x83 | TURN, 0xff];
