//! Streams that are not read, not ended, or not allowed.

use std::{net::IpAddr, sync::Arc, time::Duration};

use rand::RngExt;
use tidegate_tests::raw::{Bytes, Level, RawClient, Twist, get, post, stream};

use super::established;
use crate::world::{World, random};

const ACK: u64 = 0x02;
const CRYPTO: u64 = 0x06;
/// RFC 9000 18.2: what the server may send in all, and on a stream that the client opened.
const INITIAL_MAX_DATA: u64 = 0x04;
const INITIAL_MAX_STREAM_DATA: u64 = 0x05;

/// Downloads of which no more is ever taken than the first window. Packets are acknowledged.
pub(super) async fn never_read(world: Arc<World>, from: IpAddr) -> Option<()> {
    let mut client = established(&world, from, Twist::default()).await?;
    for id in [0, 4, 8] {
        let path = if id == 0 {
            "/endless"
        } else {
            "/bytes/4000000"
        };
        let request = stream(id, 0, &get(&world.fresh, path), true);
        client.send(Level::OneRtt, request).await;
    }
    linger(&world, &mut client).await;
    Some(())
}

/// The same with no window for an answer at all, and one in all that has just enough for the
/// server's settings: without those there would be no connection.
pub(super) async fn closed_windows(world: Arc<World>, from: IpAddr) -> Option<()> {
    let twist = Twist {
        parameters: |parameters| {
            parameters.insert(INITIAL_MAX_DATA, Bytes::new().numbers(&[256]).done());
            parameters.insert(INITIAL_MAX_STREAM_DATA, vec![0]);
        },
        ..Twist::default()
    };
    let mut client = established(&world, from, twist).await?;
    let request = stream(0, 0, &get(&world.fresh, "/bytes/100000"), true);
    client.send(Level::OneRtt, request).await;
    linger(&world, &mut client).await;
    Some(())
}

/// Heads without their end, bodies without theirs.
pub(super) async fn never_ended(world: Arc<World>, from: IpAddr) -> Option<()> {
    let mut client = established(&world, from, Twist::default()).await?;
    for id in (0..16).map(|index| index * 4) {
        let head = post(&world.fresh, "/mirror");
        let data = match id % 12 {
            0 => head[..head.len() / 2].to_vec(),
            4 => head,
            // A DATA frame of 1000 bytes, and six of them.
            _ => [&head[..], b"\x00\x43\xe8thirty"].concat(),
        };
        client
            .send(Level::OneRtt, stream(id, 0, &data, false))
            .await;
    }
    linger(&world, &mut client).await;
    Some(())
}

/// What closes a connection: one of them.
pub(super) async fn forbidden(world: Arc<World>, from: IpAddr) -> Option<()> {
    let mut client = established(&world, from, Twist::default()).await?;
    let frames = match random().random_range(0..5) {
        // A stream too many.
        0 => stream(4 * 4_000, 0, b"a", false),
        // Beyond a stream's window.
        1 => stream(0, 1 << 30, b"a", false),
        // Beyond the end.
        2 => [stream(0, 0, b"ab", true), stream(0, 2, b"c", false)].concat(),
        // Of packets that were never sent.
        3 => Bytes::new().numbers(&[ACK, 1 << 20, 0, 0, 1 << 20]).done(),
        // Far beyond a handshake.
        _ => Bytes::new().numbers(&[CRYPTO, 1 << 30, 1, 0]).done(),
    };
    client.fire(Level::OneRtt, frames).await;
    client.closed(Duration::from_secs(5)).await;
    Some(())
}

/// Stays for a while, and is gone without a word.
async fn linger(world: &World, client: &mut RawClient) {
    let longest = world.idle_timeout * 3 / 2;
    let stays = random().random_range(Duration::ZERO..longest);
    client.stay(stays).await;
}
