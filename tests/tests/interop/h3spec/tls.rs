//! "QUIC servers": errors of the handshake (RFC 9001).

use std::{sync::Arc, time::Duration};

use rustls::ClientConfig;
use tidegate_tests::{
    Gateway,
    raw::{Bytes, Level, RawClient, Twist},
};

use super::{
    Answer, table,
    transport::{PATIENCE, answer},
};

/// RFC 9001 4.8: an alert, or one of two that take the place of any.
macro_rules! alert {
    ($alert:literal) => {
        [
            Answer::Transport(0x100 + $alert),
            Answer::Transport(0x100 + INTERNAL_ERROR),
            Answer::Transport(0x100 + HANDSHAKE_FAILURE),
        ]
    };
}
macro_rules! unexpected_message {
    () => {
        alert!(10)
    };
}
macro_rules! missing_extension {
    () => {
        alert!(109)
    };
}
macro_rules! no_application_protocol {
    () => {
        alert!(120)
    };
}
macro_rules! protocol_violation {
    () => {
        [Answer::Transport(0x0a), Answer::Transport(0x01)]
    };
}

const HANDSHAKE_FAILURE: u64 = 40;
const INTERNAL_ERROR: u64 = 80;
/// Handshake messages (RFC 8446 4).
const KEY_UPDATE: &[u8] = &[24, 0, 0, 1, 1];
const END_OF_EARLY_DATA: &[u8] = &[5, 0, 0, 0];
/// A CRYPTO frame with EncryptedExtensions that are empty.
const CRYPTO: &[u8] = &[0x06, 0, 6, 8, 0, 0, 2, 0, 0];
const TRANSPORT_PARAMETERS: u16 = 0x39;
/// The extension's number in drafts of RFC 9001.
const OF_DRAFTS: u16 = 0xffa5;
const TICKETS_TAKE: Duration = Duration::from_millis(500);

table! {
    "MUST send unexpected_message TLS alert if KeyUpdate in Handshake is received [TLS 6]" =>
        |gateway| twisted(gateway, Twist { after_finished: KEY_UPDATE, ..Twist::default() }), unexpected_message!();
    "MUST send unexpected_message TLS alert if KeyUpdate in 1-RTT is received [TLS 6]" =>
        key_update_in_one_rtt, unexpected_message!();
    "MUST send no_application_protocol TLS alert if no application protocols are supported [TLS 8.1]" =>
        unknown_protocol, no_application_protocol!();
    "MUST send missing_extension TLS alert if the quic_transport_parameters extension does not included [TLS 8.2]" =>
        |gateway| twisted(gateway, Twist { client_hello: without_parameters, ..Twist::default() }), missing_extension!();
    "MUST send missing_extension TLS alert if the quic_transport_parameters extension does not included [TLS 8.2] (that of drafts)" =>
        |gateway| twisted(gateway, Twist { client_hello: |hello| parameters_of_drafts(hello), ..Twist::default() }), missing_extension!();
    "MUST send unexpected_message TLS alert if EndOfEarlyData is received [TLS 8.3]" =>
        |gateway| twisted(gateway, Twist { before_finished: END_OF_EARLY_DATA, ..Twist::default() }), unexpected_message!();
    "MUST send PROTOCOL_VIOLATION if CRYPTO in 0-RTT is received [TLS 8.3]" =>
        crypto_in_zero_rtt, protocol_violation!();
}

async fn twisted(gateway: &Gateway, twist: Twist) -> Answer {
    let tls = gateway.authority.client(&["h3"]);
    let mut client = RawClient::begin(&gateway.target(), tls, twist).await;
    answer(client.closed(PATIENCE).await)
}

async fn key_update_in_one_rtt(gateway: &Gateway) -> Answer {
    let tls = gateway.authority.client(&["h3"]);
    let mut client = RawClient::begin(&gateway.target(), tls, Twist::default()).await;
    assert!(client.handshake(PATIENCE).await, "the handshake is honest");
    let head = [0x06, 0, KEY_UPDATE.len() as u64];
    let frame = Bytes::new().numbers(&head).bytes(KEY_UPDATE).done();
    client.send(Level::OneRtt, frame).await;
    answer(client.closed(PATIENCE).await)
}

async fn unknown_protocol(gateway: &Gateway) -> Answer {
    let tls = gateway.authority.client(&["dummy"]);
    let mut client = RawClient::begin(&gateway.target(), tls, Twist::default()).await;
    answer(client.closed(PATIENCE).await)
}

async fn crypto_in_zero_rtt(gateway: &Gateway) -> Answer {
    let mut tls = ClientConfig::clone(&gateway.authority.client(&["h3"]));
    tls.enable_early_data = true;
    let tls = Arc::new(tls);
    let target = gateway.target();
    let mut first = RawClient::begin(&target, tls.clone(), Twist::default()).await;
    assert!(first.handshake(PATIENCE).await, "the handshake is honest");
    first.stay(TICKETS_TAKE).await;
    let twist = Twist {
        early_frames: CRYPTO,
        ..Twist::default()
    };
    let mut client = RawClient::begin(&target, tls, twist).await;
    answer(client.closed(PATIENCE).await)
}

fn without_parameters(hello: &mut Vec<u8>) {
    let (at, length) = extension(hello);
    hello.drain(at..at + length);
    // The length of all extensions, and that of the message.
    let extensions = extensions_at(hello);
    let all = u16::from_be_bytes([hello[extensions], hello[extensions + 1]]) - length as u16;
    hello[extensions..extensions + 2].copy_from_slice(&all.to_be_bytes());
    let message = (hello.len() - 4) as u32;
    hello[1..4].copy_from_slice(&message.to_be_bytes()[1..]);
}

fn parameters_of_drafts(hello: &mut [u8]) {
    let (at, _) = extension(hello);
    hello[at..at + 2].copy_from_slice(&OF_DRAFTS.to_be_bytes());
}

/// Where the transport parameters are in a ClientHello, and how long the extension is.
fn extension(hello: &[u8]) -> (usize, usize) {
    let mut at = extensions_at(hello) + 2;
    loop {
        let field = |at| u16::from_be_bytes([hello[at], hello[at + 1]]);
        let length = 4 + usize::from(field(at + 2));
        if field(at) == TRANSPORT_PARAMETERS {
            return (at, length);
        }
        at += length;
    }
}

/// RFC 8446 4.1.2.
fn extensions_at(hello: &[u8]) -> usize {
    let session = 4 + 2 + 32;
    let suites = session + 1 + usize::from(hello[session]);
    let compression =
        suites + 2 + usize::from(u16::from_be_bytes([hello[suites], hello[suites + 1]]));
    compression + 1 + usize::from(hello[compression])
}
