//! What connections get by the name that their clients ask for.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use boring::ssl::{SslContextBuilder, SslMethod, SslRef};
use quiche::{ConnectionId, RecvInfo};
use tidegate_proto::v1;

use super::{Contexts, EarlyData, binding, fixture, quic_config};
use crate::{
    quic::{BytesFactory, QuicheConnection},
    snapshot::{CongestionControl, QuicTransport, RetryMode},
    tls::Terms,
};

/// A port with two names.
fn port(wire: &mut v1::Snapshot) {
    let listener = |id, name, quic| v1::Listener {
        quic: Some(quic),
        ..fixture::https(id, 8443, name, &wire.certificates[0].id)
    };
    let first = v1::QuicTransport {
        max_idle_timeout_ms: 7_000,
        datagrams: true,
        ..Default::default()
    };
    let second = v1::QuicTransport {
        max_idle_timeout_ms: 9_000,
        initial_max_streams_bidi: 3,
        congestion_control: "bbr2".into(),
        initial_congestion_window: 32,
        max_send_udp_payload_size: 1_250,
        disable_pacing: true,
        disable_active_migration: true,
        initial_max_data: 40_000,
        max_connection_window: 50_000,
        initial_max_stream_data: 20_000,
        max_stream_window: 30_000,
        handshake_timeout_ms: 700,
        ..Default::default()
    };
    wire.listeners = vec![
        listener("default/edge/a", "first.example", first),
        listener("default/edge/b", "second.example", second),
    ];
    wire.routes.clear();
}

/// Both ends of a connection to `name`, after its handshake.
fn handshake(name: &str) -> (quiche::Connection, QuicheConnection) {
    handshake_on(port, name)
}

fn handshake_on(
    port: impl FnOnce(&mut v1::Snapshot),
    name: &str,
) -> (quiche::Connection, QuicheConnection) {
    let (binding, tickets) = binding(port);
    let (mut contexts, early_data) = (Contexts::default(), EarlyData::default());
    let transport = &binding.listeners[0].quic;
    let mut config = quic_config(
        &binding,
        transport,
        &tickets,
        &mut contexts,
        &early_data,
        &Arc::default(),
    )
    .unwrap();
    let here: SocketAddr = "127.0.0.1:443".parse().unwrap();
    let there: SocketAddr = "127.0.0.1:444".parse().unwrap();
    let accept = quiche::accept_with_buf_factory::<BytesFactory>;
    let scid = [3; 17];
    let scid = ConnectionId::from_ref(&scid);
    let mut server = accept(&scid, None, here, there, &mut config).unwrap();
    let mut builder = SslContextBuilder::new(SslMethod::tls()).unwrap();
    // With its share a ClientHello takes two datagrams.
    builder.set_curves_list("X25519MLKEM768").unwrap();
    let mut config =
        quiche::Config::with_boring_ssl_ctx_builder(quiche::PROTOCOL_VERSION, builder).unwrap();
    config.verify_peer(false);
    config.set_application_protos(&[b"h3"]).unwrap();
    config.set_initial_max_data(1_000_000);
    config.set_initial_max_streams_uni(8);
    // It sends as much as it is allowed to.
    config.set_initial_congestion_window_packets(1_000);
    let scid = ConnectionId::from_ref(&[4; 8]);
    let mut client = quiche::connect(Some(name), &scid, there, here, &mut config).unwrap();
    exchange(&mut client, &mut server);
    assert!(client.is_established() && server.is_established(), "{name}");
    (client, server)
}

/// Packets, until neither has more.
fn exchange(client: &mut quiche::Connection, server: &mut QuicheConnection) {
    let mut buffer = [0; 1_500];
    for _ in 0..10 {
        // Each datagram is a turn of its own, with answers to the ClientHello's first half.
        while let Ok((length, info)) = client.send(&mut buffer) {
            let (from, to) = (info.from, info.to);
            server
                .recv(&mut buffer[..length], RecvInfo { from, to })
                .unwrap();
            while let Ok((length, info)) = server.send(&mut buffer) {
                let (from, to) = (info.from, info.to);
                client
                    .recv(&mut buffer[..length], RecvInfo { from, to })
                    .unwrap();
            }
        }
    }
}

fn settings(server: &mut QuicheConnection) -> QuicTransport {
    let ssl: &mut SslRef = server.as_mut();
    QuicTransport::clone(&Terms::get(ssl).expect("it was chosen").transport)
}

fn window(server: &QuicheConnection) -> usize {
    server.path_stats().next().expect("there is a path").cwnd
}

#[test]
fn a_name_has_the_settings_of_its_own_listener() {
    let (client, mut server) = handshake("second.example");
    let told = client.peer_transport_params().expect("they have come");
    assert_eq!(told.max_idle_timeout, 9_000);
    assert_eq!(told.initial_max_streams_bidi, 3);
    assert_eq!(server.gcongestion_enabled(), Some(true), "BBR2");
    assert!(!server.pacing_enabled());
    assert!(window(&server) >= 32 * 1_200, "{}", window(&server));
    assert_eq!(server.max_send_udp_payload_size(), 1_250);
    assert!(told.disable_active_migration && told.max_datagram_frame_size.is_none());
    let settings = settings(&mut server);
    assert_eq!(settings.congestion_control, CongestionControl::Bbr2);
    assert_eq!(settings.max_idle_timeout, Duration::from_secs(9));
    assert_eq!(settings.handshake_timeout, Duration::from_millis(700));
}

#[test]
fn retry_comes_before_the_name_and_is_the_ports() {
    let port = |wire: &mut v1::Snapshot| {
        port(wire);
        let second = wire.listeners[1].quic.get_or_insert_default();
        second.set_retry(v1::RetryMode::Always);
    };
    let (_, mut server) = handshake_on(port, "second.example");
    assert_eq!(settings(&mut server).retry, RetryMode::Adaptive);
}

#[test]
fn a_name_has_windows_of_its_own_and_they_grow_as_far_as_it_says() {
    // A client as near as this one has no more than 128 KiB in flight, whatever it may send.
    for (name, data, stream_data, expected) in [
        ("first.example", 1_048_576, 262_144, 131_072..=2_097_152),
        ("second.example", 40_000, 20_000, 20_001..=30_000),
    ] {
        let (mut client, mut server) = handshake(name);
        let told = client.peer_transport_params().expect("they have come");
        assert_eq!(told.initial_max_data, data, "{name}");
        assert_eq!(told.initial_max_stream_data_bidi_remote, stream_data);
        assert_eq!(told.initial_max_stream_data_uni, stream_data, "{name}");
        // What the server lets a client send that is read at once, again and again.
        let mut allowed = 0;
        for _ in 0..200 {
            let sent = client.stream_send(0, &[7; 30_000], false).unwrap_or(0);
            exchange(&mut client, &mut server);
            let mut read = 0;
            while let Ok((length, _)) = server.stream_recv(0, &mut [0; 1 << 16]) {
                read += length;
            }
            assert_eq!(read, sent, "{name}");
            exchange(&mut client, &mut server);
            let room = client.stream_capacity(0).unwrap_or(0);
            allowed = allowed.max(room as u64);
        }
        assert!(expected.contains(&allowed), "{name}: {allowed}");
    }
}

#[test]
fn other_names_have_the_settings_of_the_first_listener() {
    for name in ["first.example", "none.example"] {
        let (client, server) = handshake(name);
        let told = client.peer_transport_params().expect("they have come");
        assert_eq!(told.max_idle_timeout, 7_000, "{name}");
        assert_eq!(told.initial_max_streams_bidi, 128, "{name}");
        assert!(told.max_datagram_frame_size.is_some(), "{name}");
        assert!(!told.disable_active_migration, "{name}");
        assert_eq!(server.gcongestion_enabled(), Some(false), "{name}");
        assert!(server.pacing_enabled(), "{name}");
        assert!(window(&server) < 32 * 1_200, "{name}");
    }
}
