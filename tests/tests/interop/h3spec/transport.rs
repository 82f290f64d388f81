//! "QUIC servers": errors of the transport (RFC 9000).

use std::time::Duration;

use tidegate_tests::{
    Gateway,
    raw::{Bytes, ConnectionClose, Level, Parameters, RawClient, Twist},
};

use super::{Answer, table};

/// An answer comes at once; this is for a machine that is busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

const INTERNAL_ERROR: Answer = Answer::Transport(0x01);
const PROTOCOL_VIOLATION: Answer = Answer::Transport(0x0a);

/// RFC 9000 11 lets a generic error take the place of any.
macro_rules! transport {
    ($($code:literal),*) => {
        [PROTOCOL_VIOLATION, INTERNAL_ERROR $(, Answer::Transport($code))*]
    };
}
macro_rules! flow_control {
    () => {
        transport!(0x03)
    };
}
macro_rules! stream_limit {
    () => {
        transport!(0x04)
    };
}
macro_rules! stream_state {
    () => {
        transport!(0x05)
    };
}
macro_rules! frame_encoding {
    () => {
        transport!(0x07)
    };
}
macro_rules! transport_parameter {
    () => {
        transport!(0x08)
    };
}

table! {
    "MUST send FLOW_CONTROL_ERROR if a STREAM frame with a large offset is received [Transport 4.1]" =>
        |gateway| frames(gateway, stream(0, 100_000_000, b"GET /\r\n")), flow_control!();
    "MUST send STREAM_LIMIT_ERROR if a stream ID exceeding the limit" =>
        |gateway| frames(gateway, stream(1_000_000_000, 0, b"GET /\r\n")), stream_limit!();
    "MUST send TRANSPORT_PARAMETER_ERROR if initial_source_connection_id is missing [Transport 7.3]" =>
        |gateway| parameters(gateway, |all| drop(all.remove(&0x0f))), transport_parameter!();
    "MUST send TRANSPORT_PARAMETER_ERROR if original_destination_connection_id is received [Transport 18.2]" =>
        |gateway| parameters(gateway, |all| drop(all.insert(0x00, b"DUMMY".into()))), transport_parameter!();
    "MUST send TRANSPORT_PARAMETER_ERROR if preferred_address, is received [Transport 18.2]" =>
        |gateway| parameters(gateway, |all| drop(all.insert(0x0d, preferred_address()))), transport_parameter!();
    "MUST send TRANSPORT_PARAMETER_ERROR if retry_source_connection_id is received [Transport 18.2]" =>
        |gateway| parameters(gateway, |all| drop(all.insert(0x10, b"DUMMY".into()))), transport_parameter!();
    "MUST send TRANSPORT_PARAMETER_ERROR if stateless_reset_token is received [Transport 18.2]" =>
        |gateway| parameters(gateway, |all| drop(all.insert(0x02, vec![7; 16]))), transport_parameter!();
    "MUST send TRANSPORT_PARAMETER_ERROR if max_udp_payload_size < 1200 [Transport 7.4 and 18.2]" =>
        |gateway| parameters(gateway, |all| drop(all.insert(0x03, number(1090)))), transport_parameter!();
    "MUST send TRANSPORT_PARAMETER_ERROR if ack_delay_exponen > 20 [Transport 7.4 and 18.2]" =>
        |gateway| parameters(gateway, |all| drop(all.insert(0x0a, number(30)))), transport_parameter!();
    "MUST send TRANSPORT_PARAMETER_ERROR if max_ack_delay >= 2^14 [Transport 7.4 and 18.2]" =>
        |gateway| parameters(gateway, |all| drop(all.insert(0x0b, number(1 << 15)))), transport_parameter!();
    "MUST send FRAME_ENCODING_ERROR if a frame of unknown type is received [Transport 12.4]" =>
        |gateway| frames(gateway, number(0x20)), frame_encoding!();
    "MUST send PROTOCOL_VIOLATION on no frames [Transport 12.4]" =>
        |gateway| frames(gateway, Vec::new()), transport!();
    "MUST send PROTOCOL_VIOLATION if reserved bits in Handshake are non-zero [Transport 17.2]" =>
        |gateway| reserved_bit(gateway, Level::Handshake), transport!();
    "MUST send PROTOCOL_VIOLATION if PATH_CHALLENGE in Handshake is received [Transport 17.2.4]" =>
        path_challenge_in_handshake, transport!();
    "MUST send PROTOCOL_VIOLATION if reserved bits in Short are non-zero [Transport 17.2]" =>
        |gateway| reserved_bit(gateway, Level::OneRtt), transport!();
    "MUST send STREAM_STATE_ERROR if RESET_STREAM is received for a send-only stream [Transport 19.4]" =>
        |gateway| frames(gateway, numbers(&[0x04, 3, 0, 0])), stream_state!();
    "MUST send STREAM_STATE_ERROR if STOP_SENDING is received for a non-existing stream [Transport 19.5]" =>
        |gateway| frames(gateway, numbers(&[0x05, 101, 0])), stream_state!();
    "MUST send PROTOCOL_VIOLATION if NEW_TOKEN is received [Transport 19.7]" =>
        |gateway| frames(gateway, Bytes::new().numbers(&[0x07, 5]).bytes(b"DUMMY").done()), transport!();
    "MUST send STREAM_STATE_ERROR if it receives a STREAM frame for a locally-initiated stream that has not yet been created [Transport 19.8]" =>
        |gateway| frames(gateway, numbers(&[0x0a, 1, 0])), stream_state!();
    "MUST send STREAM_STATE_ERROR if it receives a STREAM frame for a send-only stream [Transport 19.8]" =>
        |gateway| frames(gateway, numbers(&[0x0a, 3, 0])), stream_state!();
    "MUST send STREAM_STATE_ERROR if MAX_STREAM_DATA is received for a stream that has not yet been created [Transport 19.10]" =>
        |gateway| frames(gateway, numbers(&[0x11, 101, 1_000_000])), stream_state!();
    "MUST send STREAM_STATE_ERROR if MAX_STREAM_DATA is received for a receive-only stream [Transport 19.10]" =>
        |gateway| frames(gateway, numbers(&[0x11, 2, 1_000_000])), stream_state!();
    "MUST send FRAME_ENCODING_ERROR if invalid MAX_STREAMS is received [Transport 19.11]" =>
        |gateway| frames(gateway, numbers(&[0x12, (1 << 60) + 1])), frame_encoding!();
    "MUST send STREAM_LIMIT_ERROR or FRAME_ENCODING_ERROR if invalid STREAMS_BLOCKED is received [Transport 19.14]" =>
        |gateway| frames(gateway, numbers(&[0x16, (1 << 60) + 1])), transport!(0x04, 0x07);
    "MUST send FRAME_ENCODING_ERROR if NEW_CONNECTION_ID with invalid Retire_Prior_To is received [Transport 19.15]" =>
        |gateway| frames(gateway, new_connection_id(11, b"another!")), frame_encoding!();
    "MUST send FRAME_ENCODING_ERROR if NEW_CONNECTION_ID with 0-byte CID is received [Transport 19.15]" =>
        |gateway| frames(gateway, new_connection_id(0, b"")), frame_encoding!();
    "MUST send PROTOCOL_VIOLATION if HANDSHAKE_DONE is received [Transport 19.20]" =>
        |gateway| frames(gateway, number(0x1e)), transport!();
}

pub(super) fn numbers(all: &[u64]) -> Vec<u8> {
    Bytes::new().numbers(all).done()
}

fn number(one: u64) -> Vec<u8> {
    numbers(&[one])
}

/// A STREAM frame with its offset and length, and the stream's end.
fn stream(id: u64, offset: u64, data: &[u8]) -> Vec<u8> {
    let head = [0x0f, id, offset, data.len() as u64];
    Bytes::new().numbers(&head).bytes(data).done()
}

fn new_connection_id(retire_prior_to: u64, id: &[u8]) -> Vec<u8> {
    let head = [0x18, 1, retire_prior_to, id.len() as u64];
    Bytes::new().numbers(&head).bytes(id).bytes(&[9; 16]).done()
}

fn preferred_address() -> Vec<u8> {
    let bytes = Bytes::new()
        .bytes(&[127, 0, 0, 1])
        .bytes(&443u16.to_be_bytes());
    bytes
        .bytes(&[0; 18])
        .bytes(&[8])
        .bytes(&[1; 8])
        .bytes(&[2; 16])
        .done()
}

/// Sends the frames in a packet of their own, once the handshake is confirmed.
async fn frames(gateway: &Gateway, frames: Vec<u8>) -> Answer {
    let mut client = begin(gateway, Twist::default()).await;
    assert!(client.handshake(PATIENCE).await, "the handshake is honest");
    client.send(Level::OneRtt, frames).await;
    answer(client.closed(PATIENCE).await)
}

async fn parameters(gateway: &Gateway, parameters: fn(&mut Parameters)) -> Answer {
    let twist = Twist {
        parameters,
        ..Twist::default()
    };
    answer(begin(gateway, twist).await.closed(PATIENCE).await)
}

async fn reserved_bit(gateway: &Gateway, level: Level) -> Answer {
    let twist = Twist {
        reserved_bit: Some(level),
        ..Twist::default()
    };
    answer(begin(gateway, twist).await.closed(PATIENCE).await)
}

async fn path_challenge_in_handshake(gateway: &Gateway) -> Answer {
    let twist = Twist {
        handshake_frames: b"\x1a01234567",
        ..Twist::default()
    };
    answer(begin(gateway, twist).await.closed(PATIENCE).await)
}

async fn begin(gateway: &Gateway, twist: Twist) -> RawClient {
    let tls = gateway.authority.client(&["h3"]);
    RawClient::begin(&gateway.target(), tls, twist).await
}

pub(super) fn answer(closed: Option<ConnectionClose>) -> Answer {
    match closed {
        Some(close) if close.application => Answer::Application(close.code),
        Some(close) => Answer::Transport(close.code),
        None => Answer::Nothing,
    }
}
