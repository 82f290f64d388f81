//! Transport parameters of QUIC (RFC 9000 18), as gateways read those of clients, and as clients
//! read those of gateways: what can be read means the same once it was written again.

use std::cell::RefCell;

use qlog::events::quic::TransportInitiator;
use quiche::fuzzing::{
    decode_transport_params as decode, encode_transport_params as encode, set_transport_params,
};

use crate::{http3::Pair, quic};

pub(super) fn run(data: &[u8]) {
    let Some((&mode, data)) = data.split_first() else {
        return;
    };
    if mode & 1 != 0 {
        shake_hands(&data[..data.len().min(MOST_SAID)]);
        return;
    }
    for by_server in [true, false] {
        check(data, by_server);
    }
}

/// A client says that in its ClientHello: the gateway's side closes with the code for it, or
/// keeps to it and serves a stream.
fn shake_hands(data: &[u8]) {
    thread_local! {
        static CONFIGS: RefCell<[quiche::Config; 2]> =
            RefCell::new([quic::client_config(b"fuzz"), quic::server_config(b"fuzz")]);
    }
    let mut pair = CONFIGS.with_borrow_mut(|[client, server]| Pair::new(client, server));
    let said = match decode(data, true, None) {
        // Without its connection ID it would come to nothing.
        Ok(read) if read.initial_source_connection_id.is_none() => {
            let mine = pair.client.source_id();
            [data, &[0x0f, mine.len() as u8], &mine].concat()
        }
        _ => data.to_vec(),
    };
    set_transport_params(&mut pair.client, &said).expect("BoringSSL takes any");
    pair.exchange();
    let Pair { client, server } = &mut pair;
    let mine = client.source_id().into_owned();
    let proper = decode(&said, true, None).is_ok_and(|read| {
        read.initial_source_connection_id
            .is_some_and(|id| id == mine)
    });
    if !proper {
        let code = server.local_error().map(|error| error.error_code);
        assert_eq!(code, Some(TRANSPORT_PARAMETER_ERROR));
        return;
    }
    assert!(server.is_established() && server.local_error().is_none());
    client
        .stream_send(0, b"hello", true)
        .expect("the server's limits allow it");
    pair.exchange();
    let mut room = [0; 8];
    assert_eq!(pair.server.stream_recv(0, &mut room), Ok((5, true)));
    let limit = pair
        .server
        .peer_transport_params()
        .expect("they came")
        .clone();
    let limit = limit
        .initial_max_data
        .min(limit.initial_max_stream_data_bidi_local);
    // As far as the client allows.
    let sent = pair
        .server
        .stream_send(0, &[7; 100], true)
        .unwrap_or_default();
    assert!(sent as u64 <= limit, "{sent} of {limit}");
    pair.exchange();
}

/// BoringSSL takes ClientHellos of up to 16 KiB.
const MOST_SAID: usize = 8192;
/// RFC 9000 20.1.
const TRANSPORT_PARAMETER_ERROR: u64 = 0x08;

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
pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let usual = quiche::TransportParams {
        max_idle_timeout: 30_000,
        initial_max_data: 1 << 20,
        initial_max_stream_data_bidi_local: 1 << 18,
        initial_max_stream_data_bidi_remote: 1 << 18,
        initial_max_stream_data_uni: 1 << 18,
        initial_max_streams_bidi: 100,
        initial_max_streams_uni: 3,
        active_conn_id_limit: 8,
        initial_source_connection_id: Some(vec![1; 16].into()),
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
    let inputs = [
        ("client", written(&usual, false)),
        ("server", written(&of_server, true)),
        // None of a delay; one that is reserved, and one that is not known.
        ("zero", vec![0x0a, 1, 0, 0x0b, 1, 0, 0x1b, 2, 1, 1, 0x15, 0]),
        ("small", vec![0x03, 2, 0x44, 0xaf]),
        ("twice", vec![0x0c, 0, 0x0c, 0]),
        ("short", vec![0x04, 4, 0x80, 0, 1]),
        ("none", Vec::new()),
    ];
    // Read and written, or said in a handshake.
    let modes = [("read", 0), ("said", 1)];
    let named = |(name, input): &(&str, Vec<u8>)| {
        modes.map(|(mode, byte)| (format!("{name}-{mode}"), [&[byte][..], input].concat()))
    };
    inputs.iter().flat_map(named).collect()
}
