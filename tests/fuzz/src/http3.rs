//! Bytes on the streams of an HTTP/3 connection: frames, QPACK, requests. The client's
//! packets are real, what is in its streams is the input's.

use std::{cell::RefCell, net::SocketAddr};

use arbitrary::{Result, Unstructured};
use quiche::{
    ConnectionId,
    h3::{self, NameValue as _},
};
use tidegate_dataplane::fuzzing;

use crate::{quic, request};

pub(super) fn run(data: &[u8]) {
    let mut pair = Pair::established();
    let settings = fuzzing::http3_settings().expect("plain settings");
    let mut h3 = h3::Connection::with_transport(&mut pair.server, &settings).expect("HTTP/3");
    let _at_the_end = play(&mut pair, &mut h3, &mut Unstructured::new(data));
    pair.exchange();
    serve(&mut pair.server, &mut h3, data.len());
}

/// Streams of a client: three of requests, and those that only it writes.
pub(super) const STREAMS: [u64; 8] = [0, 2, 4, 6, 8, 10, 14, 18];

fn play(pair: &mut Pair, h3: &mut h3::Connection, input: &mut Unstructured<'_>) -> Result<()> {
    let whole = input.len();
    while !input.is_empty() {
        let act: u8 = input.arbitrary()?;
        let id = STREAMS[usize::from(act & 7)];
        match act >> 3 & 7 {
            0 => {
                let _closed = pair
                    .client
                    .stream_shutdown(id, quiche::Shutdown::Write, 0x10c);
            }
            1 => {
                let _closed = pair
                    .client
                    .stream_shutdown(id, quiche::Shutdown::Read, 0x10c);
            }
            2 => {
                let len = input.arbitrary::<u8>()?.into();
                let _full = pair.client.dgram_send(input.bytes(len)?);
            }
            3 => {
                pair.exchange();
                serve(&mut pair.server, h3, whole);
            }
            _ => {
                let len = usize::from(input.arbitrary::<u8>()?).min(input.len());
                let _full = pair
                    .client
                    .stream_send(id, input.bytes(len)?, act & 0x80 != 0);
            }
        }
    }
    Ok(())
}

/// Takes what comes, as the gateway does, and answers what it would serve.
fn serve(server: &mut quiche::Connection, h3: &mut h3::Connection, whole: usize) {
    let mut content = 0;
    let mut heads = std::collections::BTreeSet::new();
    let mut room = [0; 1500];
    while server.dgram_recv(&mut room).is_ok() {}
    for _ in 0..10_000 {
        match h3.poll(server) {
            Ok((id, h3::Event::Headers { list, .. })) => {
                let size: usize = list
                    .iter()
                    .map(|line| line.name().len() + line.value().len() + 32)
                    .sum();
                assert!(size <= LARGEST_SECTION, "{size} bytes of fields");
                if heads.insert(id) && request::check(&list) {
                    let status = [h3::Header::new(b":status", b"200")];
                    let _no_room = h3.send_response(server, id, &status, true);
                } else {
                    let _refused = fuzzing::trailers(&list);
                }
            }
            Ok((id, h3::Event::Data)) => {
                let mut room = [0; 4096];
                while let Ok(read) = h3.recv_body(server, id, &mut room) {
                    content += read;
                }
                assert!(content <= whole, "more content than bytes");
            }
            Ok(_) => {}
            Err(h3::Error::Done) => return,
            // The gateway goes on, too: a stream ended amid its type.
            Err(h3::Error::TransportError(quiche::Error::InvalidStreamState(_))) => {}
            Err(error) => {
                assert!(
                    server.local_error().is_some(),
                    "a client is told why: {error:?}"
                );
                return;
            }
        }
    }
    panic!("there is no end of events");
}

/// What the gateway says that it takes.
const LARGEST_SECTION: usize = 128 * 1024;

/// Both ends of a connection.
pub(super) struct Pair {
    pub(super) client: quiche::Connection,
    pub(super) server: quiche::Connection,
}

impl Pair {
    pub(super) fn established() -> Self {
        thread_local! {
            static CONFIGS: RefCell<[quiche::Config; 2]> =
                RefCell::new([quic::client_config(b"h3"), quic::server_config(b"h3")]);
        }
        CONFIGS.with_borrow_mut(|[client, server]| Self::between(client, server))
    }

    pub(super) fn between(client: &mut quiche::Config, server: &mut quiche::Config) -> Self {
        let mut pair = Self::new(client, server);
        pair.exchange();
        assert!(pair.client.is_established() && pair.server.is_established());
        pair
    }

    /// Nothing was sent yet.
    pub(super) fn new(client: &mut quiche::Config, server: &mut quiche::Config) -> Self {
        let (at, from): (SocketAddr, SocketAddr) = (
            ([127, 0, 0, 1], 443).into(),
            ([127, 0, 0, 1], 50_000).into(),
        );
        let (name, mine) = (Some("a.example"), ConnectionId::from_ref(&[1; 16]));
        let client = quiche::connect(name, &mine, from, at, client);
        let server = quiche::accept(&ConnectionId::from_ref(&[2; 16]), None, at, from, server);
        Self {
            client: client.expect("a client"),
            server: server.expect("a server"),
        }
    }

    /// Until both have nothing to say.
    pub(super) fn exchange(&mut self) {
        for _ in 0..200 {
            let there = deliver(&mut self.client, &mut self.server);
            let back = deliver(&mut self.server, &mut self.client);
            if !there && !back {
                return;
            }
        }
        panic!("there is no end of packets");
    }
}

fn deliver(from: &mut quiche::Connection, to: &mut quiche::Connection) -> bool {
    let mut room = [0; 1500];
    let mut any = false;
    while let Ok((len, sent)) = from.send(&mut room) {
        any = true;
        let info = quiche::RecvInfo {
            from: sent.from,
            to: sent.to,
        };
        let _refused = to.recv(&mut room[..len], info);
    }
    any
}
