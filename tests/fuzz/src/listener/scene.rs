//! Clients and strangers before a gateway, as the bytes of an input say.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use arbitrary::{Result, Unstructured};
use tidegate_dataplane::{fuzzing, snapshot::RetryMode};

use super::{client::Client, gateway::Gateway};

pub(super) struct Scene {
    gateway: Gateway,
    clients: Vec<Client>,
    /// What clients have sent, the newest last.
    seen: Vec<Vec<u8>>,
    /// Of the next Initial of a stranger.
    number: u16,
}

impl Scene {
    pub(super) fn new(mode: u8) -> Self {
        let retry = match mode & 3 {
            0 => RetryMode::Always,
            1 => RetryMode::Never,
            _ => RetryMode::Adaptive,
        };
        Self {
            gateway: Gateway::new(retry),
            clients: Vec::new(),
            seen: Vec::new(),
            number: 100,
        }
    }

    pub(super) async fn play(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        while !input.is_empty() {
            let act: u8 = input.arbitrary()?;
            let who = usize::from(act >> 3 & 3);
            match act & 7 {
                0 if who == self.clients.len() => {
                    let client = Client::new(who as u8, self.gateway.local);
                    self.clients.push(client);
                    self.send(who, true);
                }
                // Its packets get lost, but strangers have seen them.
                0 => self.send(who, false),
                1 => self.send(who, true),
                2 => self.hear(who, input.arbitrary()?),
                3 => {
                    let datagram = self.changed(input)?;
                    self.gateway.receive(stranger(who), &datagram, None);
                }
                4 => {
                    let len = input.arbitrary::<u8>()?.into();
                    let mut datagram = input.bytes(len)?.to_vec();
                    datagram.resize(if act & 0x40 == 0 { len } else { 1200 }, 0);
                    self.gateway.receive(stranger(who), &datagram, None);
                }
                5 => {
                    let datagram = self.forged(input)?;
                    self.gateway.receive(stranger(who), &datagram, None);
                }
                6 => {
                    let size: u16 = input.arbitrary()?;
                    let datagrams = [self.changed(input)?, self.changed(input)?].concat();
                    self.gateway.receive(stranger(who), &datagrams, Some(size));
                }
                _ => {
                    let (what, len) = (input.arbitrary()?, input.arbitrary::<u8>()?.into());
                    let content = input.bytes(len)?;
                    if let Some(client) = self.clients.get_mut(who) {
                        client.act(what, content);
                    }
                }
            }
            if act & 0x80 != 0 {
                self.gateway.turn().await;
            }
        }
        Ok(())
    }

    /// What a client has to say reaches strangers, and maybe the gateway.
    fn send(&mut self, who: usize, arrives: bool) {
        let Some(client) = self.clients.get_mut(who) else {
            return;
        };
        for datagram in client.send() {
            if client.has_answered() {
                self.gateway.ledger.proven(client.address);
            }
            if arrives {
                self.gateway.receive(client.address, &datagram, None);
            }
            if self.seen.len() == MOST_SEEN {
                self.seen.remove(0);
            }
            self.seen.push(datagram);
        }
    }

    /// A client gets what was sent to it, but for what `lost` says.
    fn hear(&mut self, who: usize, mut lost: u8) {
        let Some(client) = self.clients.get_mut(who) else {
            return;
        };
        for mut datagram in self.gateway.sent_to(client.address) {
            if lost & 1 == 0 {
                client.hear(self.gateway.local, &mut datagram);
            }
            lost = lost.rotate_right(1);
        }
    }

    /// One that a client sent, with changes.
    fn changed(&self, input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
        let (which, changes): (u8, u8) = input.arbitrary()?;
        let newest = self.seen.iter().nth_back(usize::from(which));
        let mut datagram = newest.cloned().unwrap_or_default();
        for _ in 0..changes & 3 {
            let (how, at): (u8, u16) = input.arbitrary()?;
            let at = usize::from(at) % (datagram.len() + 1);
            match how & 7 {
                0 => datagram.truncate(at),
                1 => datagram.resize(at.max(1200), 0),
                2 | 3 => datagram.extend(input.bytes(usize::from(how >> 3))?),
                _ => {
                    let bytes = input.bytes(usize::from(how >> 3).min(datagram.len() - at))?;
                    datagram[at..at + bytes.len()].copy_from_slice(bytes);
                }
            }
        }
        Ok(datagram)
    }

    /// An Initial that opens: of a client's connection, as whoever saw its ID can make it, or of
    /// one that nobody knows.
    fn forged(&mut self, input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
        let (which, len): (u8, u16) = input.arbitrary()?;
        let client = self.clients.get(usize::from(which & 7));
        let dcid = client.map_or([which; 8].to_vec(), |client| client.dcid.clone());
        let mut frames = input
            .bytes(usize::from(len).min(input.len()).min(1100))?
            .to_vec();
        frames.resize(
            frames.len().max(1162 * usize::from(which >> 7 ^ 1)).max(4),
            0,
        );
        self.number += 1;
        let packet = fuzzing::initial_packet(&dcid, &[which; 8], self.number, &frames);
        Ok(packet.expect("BoringSSL works"))
    }

    /// A client that nobody disturbs.
    pub(super) async fn complete_a_handshake(&mut self) {
        let mut client = Client::new(u8::MAX, self.gateway.local);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            for datagram in client.send() {
                if client.has_answered() {
                    self.gateway.ledger.proven(client.address);
                }
                self.gateway.receive(client.address, &datagram, None);
            }
            self.gateway.turn().await;
            for mut datagram in self.gateway.sent_to(client.address) {
                client.hear(self.gateway.local, &mut datagram);
            }
            if client.is_served() {
                return;
            }
        }
        panic!("a genuine handshake does not complete");
    }
}

/// Two of each network.
fn stranger(who: usize) -> SocketAddr {
    ([198, 51, 100 + (who as u8 >> 1), who as u8], 4433).into()
}

const MOST_SEEN: usize = 32;
/// Longer than a busy shard lets a handshake wait.
const PATIENCE: Duration = Duration::from_secs(8);
