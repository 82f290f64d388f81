//! Scenes to begin with.

/// Each with its name.
pub(crate) fn all() -> Vec<(&'static str, Vec<u8>)> {
    let handshake = [&JOIN[..], &HEAR, &SEND, &HEAR].concat();
    let served = [&[NEVER][..], &handshake, HELLO, &SEND, &HEAR].concat();
    let initial = |frames: &[u8]| {
        let head = [0x05 | TURN, 0, frames.len() as u8, 0];
        [&head[..], frames].concat()
    };
    let mut version = vec![0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8];
    version.extend([1; 18]);
    vec![
        (
            "closed",
            [&served[..], &[0x07, 0, 0], &SEND, &HEAR].concat(),
        ),
        (
            "retry",
            // The same token from elsewhere.
            [
                &[ALWAYS][..],
                &JOIN,
                &HEAR,
                &SEND,
                &[0x03 | TURN, 0, 0],
                &HEAR,
                &SEND,
            ]
            .concat(),
        ),
        (
            "moved",
            // What reaches the gateway first comes from a stranger, then from the client.
            [
                &served[..],
                HELLO,
                &[0x00, 0x0b | TURN, 0, 0],
                HELLO,
                &SEND,
                &HEAR,
            ]
            .concat(),
        ),
        (
            "repeated",
            // Whole, cut, with a byte changed, and two of them as the kernel merges them.
            [
                &[ADAPTIVE][..],
                &JOIN[..1],
                &[
                    0x03, 0, 0, 0x03, 0, 1, 0, 0xaf, 4, 0x03, 0, 1, 0x0c, 40, 0, 7,
                ],
                &[0x06 | TURN, 0xb0, 4, 0, 0, 0, 0],
            ]
            .concat(),
        ),
        (
            "frames",
            [
                &[NEVER][..],
                &JOIN,
                // PING; ACK of 0; CRYPTO that begins a ClientHello; CONNECTION_CLOSE.
                &initial(&[0x01]),
                &initial(&[0x02, 0, 0, 0, 0]),
                &initial(&[0x06, 0, 5, 1, 0, 1, 0, 3]),
                &initial(&[0x1c, 0x0a, 0, 0]),
            ]
            .concat(),
        ),
        // What a stranger sends is answered to the client.
        (
            "pings",
            [&[NEVER][..], &JOIN, &initial(&[0x01]).repeat(6)].concat(),
        ),
        (
            "version",
            [&[NEVER, 0x44, version.len() as u8][..], &version].concat(),
        ),
    ]
}

const ALWAYS: u8 = 0;
const NEVER: u8 = 1;
const ADAPTIVE: u8 = 2;
/// A turn of the workers behind an act.
const TURN: u8 = 0x80;
/// Acts of the first client.
const JOIN: [u8; 1] = [TURN];
const HEAR: [u8; 2] = [0x02, 0];
const SEND: [u8; 1] = [0x01 | TURN];
/// Five bytes on stream 0.
const HELLO: &[u8] = b"\x07\x03\x05hello";
