//! The cases of the quic-interop-runner, under its names and over its link, each for every
//! client; what the server does is this gateway.

use futures_util::future::LocalBoxFuture;

use crate::client::Client;

mod addresses;
mod handshakes;
mod network;
mod transfers;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: for<'a> fn(&'a Client) -> LocalBoxFuture<'a, ()>,
}

macro_rules! cases {
    ($($name:literal: $function:path,)*) => {
        pub(crate) const CASES: &[Case] = &[$(Case {
            name: $name,
            run: |client| Box::pin($function(client)),
        }),*];
    };
}

cases! {
    "handshake": handshakes::handshake,
    "transfer": transfers::transfer,
    "longrtt": handshakes::long_rtt,
    "chacha20": handshakes::chacha20,
    "multiplexing": transfers::multiplexing,
    "retry": handshakes::retry,
    "resumption": handshakes::resumption,
    "zerortt": handshakes::zero_rtt,
    "http3": transfers::http3,
    "blackhole": network::blackhole,
    "keyupdate": transfers::key_update,
    "amplificationlimit": handshakes::amplification_limit,
    "handshakeloss": network::handshake_loss,
    "transferloss": network::transfer_loss,
    "handshakecorruption": network::handshake_corruption,
    "transfercorruption": network::transfer_corruption,
    "ipv6": addresses::ipv6,
    "rebind-port": addresses::rebind_port,
    "rebind-addr": addresses::rebind_address,
}

/// Cases of the runner that no client can pass against this gateway, and why.
pub(crate) const NOT_SERVED: &[(&str, &str)] = &[
    (
        "ecn",
        "quiche 0.30.0 neither marks packets nor counts marks: `Connection::recv` is not told of \
         them, and ACK_ECN frames are only read",
    ),
    (
        "v2",
        "quiche 0.30.0 speaks QUIC version 1 alone (`version_is_supported`, lib.rs)",
    ),
    (
        "connectionmigration",
        "quiche 0.30.0 offers no preferred address, which the runner's case wants of a server \
         (`preferred_address` in transport_params.rs is only skipped); a client that moves by \
         itself is tested in behaviour/rebind.rs",
    ),
];

/// What a client has no way to do: that case is not run with it.
pub(crate) const NOT_ASKED: &[(&str, &str, &str)] = &[
    (
        "resumption",
        "s2n-quic",
        "s2n-quic 1.91 over rustls throws session tickets away (s2n-quic-rustls has no \
         `process_post_handshake_message`)",
    ),
    ("zerortt", "s2n-quic", "s2n-quic 1.91 has no 0-RTT"),
    (
        "keyupdate",
        "s2n-quic",
        "s2n-quic 1.91 updates keys only near the AEAD's limit of 2^23 packets, and lets nobody ask \
         for it",
    ),
];

pub(crate) fn not_asked(case: &str, stack: &str) -> Option<&'static str> {
    (NOT_ASKED.iter())
        .find(|(of_case, of_stack, _)| (*of_case, *of_stack) == (case, stack))
        .map(|(_, _, reason)| *reason)
}

const KB: u64 = 1 << 10;
const MB: u64 = 1 << 20;

/// The path of a file of so many bytes.
fn file(length: u64) -> String {
    format!("/bytes/{length}")
}
