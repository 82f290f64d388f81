//! Frames of 1-RTT packets: whatever a client that is known writes in them, from wherever it
//! sends them, the gateway's side keeps to its bounds, and either says why it closes or goes on
//! to serve.
//!
//! The packets are sealed with the keys of a client of quiche, whose own state has no part in it.

mod hand;
pub(super) mod seeds;
mod server;

use arbitrary::{Result, Unstructured};

use self::{hand::Hand, server::Server};
use crate::http3::Pair;

pub(super) fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mode = input.arbitrary::<u8>().unwrap_or_default();
    let Pair { client, server } = server::established(mode);
    let mut play = Play {
        hand: Hand::new(client),
        server: Server::new(server),
    };
    play.turn();
    let _at_the_end = play.run(&mut input);
    play.is_closed_or_serves();
}

struct Play {
    hand: Hand,
    server: Server,
}

impl Play {
    fn run(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        while !input.is_empty() {
            let act: u8 = input.arbitrary()?;
            if act & 0x80 == 0 {
                let who = act & 7;
                let (which, skipped) = input.arbitrary::<(u8, u8)>()?;
                let len = usize::from(input.arbitrary::<u16>()?);
                let frames = input.bytes(len.min(input.len()).min(LONGEST))?;
                self.hand.skip(skipped);
                self.send(who, which, frames);
            } else {
                match act & 7 {
                    0 => self.acknowledge(),
                    1 => self.answer_challenges(),
                    2 => self.server.rest(),
                    3 => self.server.say(usize::from(input.arbitrary::<u8>()?) << 4),
                    // More packets before the other side has its turn.
                    _ => continue,
                }
            }
            if act & 0x08 != 0 {
                self.turn();
            }
        }
        Ok(())
    }

    /// A packet from one of several addresses, to one of the gateway's connection IDs.
    fn send(&mut self, who: u8, which: u8, frames: &[u8]) {
        if let Some(dcid) = self.server.connection_id(which) {
            let mut packet = self.hand.seal(&dcid, frames);
            self.server.receive(who, &mut packet);
        }
    }

    /// The gateway's side does what it has to do.
    fn turn(&mut self) {
        for (who, packet) in self.server.turn() {
            self.hand.open(who, &packet);
        }
    }

    /// Acknowledges all that came.
    fn acknowledge(&mut self) {
        for frames in self.hand.acknowledgements() {
            self.send(HOME, 0, &frames);
        }
    }

    /// Shows that somebody is where packets came from.
    fn answer_challenges(&mut self) {
        for (who, data) in self.hand.take_challenges() {
            self.server.prove(who);
            self.send(who, 0, &[&[0x1b][..], &data].concat());
        }
    }

    fn is_closed_or_serves(&mut self) {
        for _ in 0..ROUNDS {
            self.turn();
            self.acknowledge();
            self.answer_challenges();
        }
        let Some(id) = self.server.unopened_stream() else {
            return;
        };
        let mut frames = vec![0x0b];
        frames.extend(hand::varint(id));
        frames.extend([HELLO.len() as u8]);
        frames.extend(HELLO);
        // With padding, because an address that has to be validated is sent no more than thrice that.
        frames.resize(LONGEST, 0);
        self.send(HOME, 0, &frames);
        for _ in 0..ROUNDS {
            self.turn();
            if self.server.is_closed() || self.hand.has(id, HELLO) {
                return;
            }
            self.acknowledge();
            self.answer_challenges();
        }
        panic!("stream {id} is not served: {:?}", self.server.stats());
    }
}

/// Where the client did its handshake.
const HOME: u8 = 0;
/// Bytes of frames that fit into a datagram.
const LONGEST: usize = 1200;
const ROUNDS: usize = 16;
const HELLO: &[u8] = b"hello";
