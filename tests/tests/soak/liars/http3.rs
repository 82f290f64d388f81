//! Requests that are no requests.

use std::{net::IpAddr, sync::Arc, time::Duration};

use rand::RngExt;
use tidegate_tests::{
    Cancel, H3,
    raw::{Level, Twist, get, stream},
};
use tokio::time::sleep;

use super::established;
use crate::world::{World, random};

/// Requests that a connection may cancel at once, and more.
const FEW: usize = 60;
const MANY: usize = 400;
/// So many are under way before they are taken back.
const AT_ONCE: usize = 20;

/// What closes a connection: one of them.
pub(super) async fn forbidden(world: Arc<World>, from: IpAddr) -> Option<()> {
    let mut client = established(&world, from, Twist::default()).await?;
    let frames = match random().random_range(0..5) {
        // DATA before HEADERS.
        0 => stream(0, 0, b"\x00\x04four", true),
        // SETTINGS on a request stream.
        1 => stream(0, 0, b"\x04\x00", false),
        // A second control stream.
        2 => [
            stream(2, 0, b"\x00\x04\x00", false),
            stream(6, 0, b"\x00", false),
        ]
        .concat(),
        // A control stream that ends.
        3 => stream(2, 0, b"\x00\x04\x00", true),
        // A field section that refers to what was never inserted, beside an honest request.
        _ => [
            stream(0, 0, &get(&world.fresh, "/bytes/10"), true),
            stream(4, 0, b"\x01\x03\x05\x00\x80", true),
        ]
        .concat(),
    };
    client.send(Level::OneRtt, frames).await;
    client.closed(Duration::from_secs(5)).await;
    Some(())
}

/// Requests that are taken back as soon as they have left, each time by other frames, now and
/// then so many that the connection is closed for it.
pub(super) async fn rapid_reset(world: Arc<World>, from: IpAddr) -> Option<()> {
    let transport = quinn::TransportConfig::default();
    let connecting = H3::connect_from(from, &world.fresh, transport);
    let client = connecting.await.ok()?;
    let count = if random().random_bool(0.2) { MANY } else { FEW };
    let mut requests = Vec::new();
    for _ in 0..count / AT_ONCE {
        let first = requests.len();
        for _ in 0..AT_ONCE {
            let Ok(request) = client.begin_revocable("/never").await else {
                return Some(());
            };
            requests.push(request);
        }
        sleep(Duration::from_millis(20)).await;
        for (request, how) in requests[first..].iter_mut().zip(Cancel::ALL.iter().cycle()) {
            request.cancel(*how);
        }
    }
    Some(())
}
