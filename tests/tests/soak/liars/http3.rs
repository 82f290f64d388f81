//! Requests that are no requests.

use std::{net::IpAddr, sync::Arc, time::Duration};

use h3::error::Code;
use rand::RngExt;
use tidegate_tests::{
    H3,
    raw::{Level, Twist, get, stream},
};

use super::established;
use crate::world::{World, random};

/// Requests that a connection may cancel at once, and more.
const FEW: usize = 60;
const MANY: usize = 400;

/// What closes a connection: one of them.
pub(super) async fn forbidden(world: Arc<World>, from: IpAddr) {
    let Some(mut client) = established(&world, from, Twist::default()).await else {
        return;
    };
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
}

/// Requests that are cancelled as soon as they are sent, now and then so many that the
/// connection is closed for it.
pub(super) async fn rapid_reset(world: Arc<World>, from: IpAddr) {
    let transport = quinn::TransportConfig::default();
    let Ok(client) = H3::connect_from(from, &world.fresh, transport).await else {
        return;
    };
    let count = if random().random_bool(0.2) { MANY } else { FEW };
    for turn in 0..count {
        let request = client.request("GET", "/never");
        let Ok(mut stream) = client.open(request).await else {
            return;
        };
        if stream.finish().await.is_err() {
            return;
        }
        stream.stop_sending(Code::H3_REQUEST_CANCELLED);
        if turn % 3 > 0 {
            stream.stop_stream(Code::H3_REQUEST_CANCELLED);
        }
    }
}
