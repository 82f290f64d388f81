//! Datagrams that are no packets, and packets that lead nowhere.

use std::{net::IpAddr, sync::Arc, time::Duration};

use rand::RngExt;
use tidegate_tests::{
    Forge, Kind,
    raw::{Level, RawClient, Replay, Twist, get, stream},
};
use tokio::{net::UdpSocket, time::sleep};

use super::established;
use crate::world::{World, random};

/// Every kind of junk once, in random order; true first flights among it.
pub(super) async fn junk(world: Arc<World>, from: IpAddr) -> Option<()> {
    let socket = socket(from).await;
    let mut forge = Forge::new(rand::random());
    let begin = random().random_range(0..Kind::ALL.len());
    for kind in Kind::ALL.iter().cycle().skip(begin).take(Kind::ALL.len()) {
        let _full = socket.send_to(&forge.make(*kind), world.quic.address).await;
        sleep(Duration::from_millis(5)).await;
    }
    answered(&socket)
}

/// A first flight, or half of one, whose answer is never read.
pub(super) async fn half_open(world: Arc<World>, from: IpAddr) -> Option<()> {
    let socket = socket(from).await;
    for datagram in Replay::new(&world.fresh).flight() {
        let _full = socket.send_to(&datagram, world.quic.address).await;
        if random().random_bool(0.3) {
            break;
        }
    }
    // The answers meet a socket that is there.
    sleep(Duration::from_secs(2)).await;
    answered(&socket)
}

/// Initials of each length, most of them too short.
pub(super) async fn cut_short(world: Arc<World>, from: IpAddr) -> Option<()> {
    let socket = socket(from).await;
    let flight = Replay::new(&world.fresh).flight();
    for _ in 0..10 {
        let whole = &flight[0];
        let length = random().random_range(1..whole.len());
        let _full = socket.send_to(&whole[..length], world.quic.address).await;
    }
    Some(())
}

/// Packets of a genuine connection that were truncated or changed on their way.
pub(super) async fn bent(world: Arc<World>, from: IpAddr) -> Option<()> {
    let mut client = established(&world, from, Twist::default()).await?;
    let request = stream(0, 0, &get(&world.fresh, "/bytes/50000"), true);
    client.send(Level::OneRtt, request.clone()).await;
    for turn in 0..40 {
        bend(&mut client, request.clone(), turn).await;
        client.stay(Duration::from_millis(5)).await;
    }
    Some(())
}

async fn bend(client: &mut RawClient, frames: Vec<u8>, turn: usize) {
    let bend = |datagram: &mut Vec<u8>| {
        let at = random().random_range(1..datagram.len());
        match turn % 3 {
            0 => datagram.truncate(at),
            1 => datagram[at] ^= 1 << random().random_range(0..8),
            _ => datagram.extend([0; 64]),
        }
    };
    client.fire_bent(Level::OneRtt, frames, bend).await;
}

/// Whether the gateway said anything to it.
fn answered(socket: &UdpSocket) -> Option<()> {
    socket.try_recv(&mut [0; 1]).ok().map(drop)
}

async fn socket(from: IpAddr) -> UdpSocket {
    UdpSocket::bind((from, 0)).await.expect("loopback binds")
}
