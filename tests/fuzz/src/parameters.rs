//! Transport parameters of QUIC (RFC 9000 18), as gateways read those of clients, and as clients
//! read those of gateways: what can be read means the same once it was written again.

use qlog::events::quic::TransportInitiator;
use quiche::fuzzing::{decode_transport_params as decode, encode_transport_params as encode};

pub(super) fn run(data: &[u8]) {
    for by_server in [true, false] {
        check(data, by_server);
    }
}

fn check(data: &[u8], by_server: bool) {
    let more = decode(data, by_server, Some(ROOM));
    let Ok(read) = decode(data, by_server, None) else {
        assert!(more.is_err(), "those that are unknown do not mend it");
        return;
    };
    let mut room = vec![0; ENCODED + data.len()];
    let len = encode(&read, !by_server, &mut room).expect("there is room");
    assert_eq!(decode(&room[..len], by_server, None), Ok(read.clone()));

    // RFC 9000 18.2.
    assert!(read.max_udp_payload_size >= 1200);
    assert!(read.ack_delay_exponent <= 20 && read.max_ack_delay < 1 << 14);
    assert!(read.active_conn_id_limit >= 2);
    let streams = read
        .initial_max_streams_bidi
        .max(read.initial_max_streams_uni);
    assert!(streams <= 1 << 60, "{streams} streams");
    let of_servers = [
        &read.original_destination_connection_id,
        &read.retry_source_connection_id,
    ];
    let of_servers = of_servers.iter().any(|id| id.is_some());
    assert!(!by_server || !of_servers && read.stateless_reset_token.is_none());

    let mut more = more.expect("it could be read");
    let unknown = more.unknown_params.take().expect("there was room");
    assert_eq!(more, read);
    let kept = unknown.parameters.iter().map(|one| one.value.len() + 8);
    assert!(kept.sum::<usize>() <= ROOM);
    for one in &unknown.parameters {
        assert_eq!(one.is_reserved(), one.id % 31 == 27, "{}", one.id);
    }
    more.unknown_params = Some(unknown);
    let shown = serde_json::to_string(&more.to_qlog(TransportInitiator::Remote, None));
    assert!(shown.expect("a capture has it").len() <= 2048 + 2 * data.len());
}

/// For those that are not known.
const ROOM: usize = 256;
/// More than all that are known take, but for connection IDs.
const ENCODED: usize = 256;

/// Inputs to begin with, and their names.
pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let usual = quiche::TransportParams {
        max_idle_timeout: 30_000,
        initial_max_data: 1 << 20,
        initial_max_stream_data_bidi_local: 1 << 18,
        initial_max_stream_data_bidi_remote: 1 << 18,
        initial_max_stream_data_uni: 1 << 18,
        initial_max_streams_bidi: 100,
        initial_max_streams_uni: 3,
        active_conn_id_limit: 8,
        initial_source_connection_id: Some(vec![7; 8].into()),
        max_datagram_frame_size: Some(65_535),
        ..Default::default()
    };
    let of_server = quiche::TransportParams {
        original_destination_connection_id: Some(vec![1; 8].into()),
        retry_source_connection_id: Some(vec![2; 16].into()),
        stateless_reset_token: Some(3),
        disable_active_migration: true,
        ..usual.clone()
    };
    let written = |params, by_server| {
        let mut room = [0; ENCODED];
        let len = encode(params, by_server, &mut room).expect("there is room");
        room[..len].to_vec()
    };
    vec![
        ("client", written(&usual, false)),
        ("server", written(&of_server, true)),
        // None of a delay; one that is reserved, and one that is not known.
        ("zero", vec![0x0a, 1, 0, 0x0b, 1, 0, 0x1b, 2, 1, 1, 0x15, 0]),
        ("small", vec![0x03, 2, 0x44, 0xaf]),
        ("twice", vec![0x0c, 0, 0x0c, 0]),
        ("short", vec![0x04, 4, 0x80, 0, 1]),
    ]
}
