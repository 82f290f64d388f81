//! Datagrams from strangers, among those of genuine clients, into a listener: whatever comes,
//! it keeps to its bounds, and the next genuine handshake completes.
//!
//! Strangers see all that clients send, and send it again from where they are, changed, cut or
//! put together; and Initials of their own, with keys that open and frames that may be anything.

mod client;
mod echo;
mod gateway;
mod ledger;
pub(super) mod seeds;

use arbitrary::{Result, Unstructured};
use tidegate_dataplane::{fuzzing, snapshot::RetryMode};
use tokio::{
    runtime::{Builder, Runtime},
    task::LocalSet,
};

use self::{client::Client, gateway::Gateway};

pub(super) fn run(data: &[u8]) {
    thread_local! {
        static RUNTIME: Runtime =
            Builder::new_current_thread().enable_all().build().expect("a runtime");
    }
    let data = &data[..data.len().min(LONGEST)];
    RUNTIME.with(|runtime| {
        LocalSet::new().block_on(runtime, async {
            let mut input = Unstructured::new(data);
            let mode = input.arbitrary::<u8>().unwrap_or_default();
            let mut scene = Scene::new(mode);
            let _at_the_end = scene.play(&mut input).await;
            scene.complete_a_handshake().await;
        });
    });
}

struct Scene {
    gateway: Gateway,
    clients: Vec<Client>,
    /// What clients have sent, the newest last.
    seen: Vec<Vec<u8>>,
    /// Of the next Initial of a stranger.
    number: u16,
}

impl Scene {
    fn new(mode: u8) -> Self {
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

    async fn play(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
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

    async fn complete_a_handshake(&mut self) {
        let mut client = Client::new(u8::MAX, self.gateway.local);
        for _ in 0..TURNS {
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
fn stranger(who: usize) -> std::net::SocketAddr {
    ([198, 51, 100 + (who as u8 >> 1), who as u8], 4433).into()
}

/// Of an input that counts.
const LONGEST: usize = 4096;
const MOST_SEEN: usize = 32;
/// Longer than a busy shard lets a handshake wait.
const TURNS: usize = 100_000;
