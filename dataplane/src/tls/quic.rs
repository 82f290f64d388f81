//! TLS and transport parameters of a QUIC binding.

use std::sync::Arc;

use boring::ssl::SslRef;
use quiche::CongestionControlAlgorithm as Algorithm;

use super::{Contexts, Door, EarlyData, EchCounts, Tickets, TlsError, root};
use crate::{
    quic::QuicheConnection,
    snapshot::{Binding, CongestionControl, MAX_VARINT, QuicTransport},
};

/// What new QUIC connections of a binding get: `transport`, of which [`settle`] changes what it
/// can once the server name is read.
///
/// # Errors
/// When BoringSSL refuses a certificate, or quiche a setting.
pub fn quic_config(
    binding: &Arc<Binding>,
    transport: &QuicTransport,
    tickets: &Tickets,
    contexts: &mut Contexts,
    early_data: &EarlyData,
    ech_counts: &Arc<EchCounts>,
) -> Result<quiche::Config, TlsError> {
    let quic = Some((transport, early_data));
    let builder = root(Door::Quic, binding, tickets, contexts, quic, ech_counts)?;
    let mut config =
        quiche::Config::with_boring_ssl_ctx_builder(quiche::PROTOCOL_VERSION, builder)?;
    config.set_max_idle_timeout(idle_timeout(transport));
    config.set_max_recv_udp_payload_size(MAX_RECV_UDP_PAYLOAD);
    config.set_max_send_udp_payload_size(transport.max_send_udp_payload_size);
    let (data, stream_data) = (
        transport.initial_max_data,
        transport.initial_max_stream_data,
    );
    config.set_initial_max_data(data);
    config.set_initial_max_stream_data_bidi_remote(stream_data);
    config.set_initial_max_stream_data_bidi_local(stream_data);
    config.set_initial_max_stream_data_uni(stream_data);
    config.set_initial_max_streams_bidi(transport.initial_max_streams_bidi);
    config.set_initial_max_streams_uni(MAX_STREAMS_UNI);
    config.set_max_connection_window(transport.max_connection_window);
    config.set_max_stream_window(transport.max_stream_window);
    config.enable_dgram(transport.datagrams, DATAGRAMS_RECEIVED, DATAGRAMS_SENT);
    config.set_disable_active_migration(!transport.active_migration);
    config.set_active_connection_id_limit(ACTIVE_CONNECTION_IDS);
    config.set_cc_algorithm(algorithm(transport));
    config.discover_pmtu(transport.path_mtu_discovery);
    config.set_initial_congestion_window_packets(transport.initial_congestion_window);
    // quiche says when BBR2's packets are due; the worker's pacer heeds that, and paces the others.
    config.enable_pacing(transport.pacing);
    if let Some(rate) = transport.max_pacing_rate {
        config.set_max_pacing_rate(rate);
    }
    config.set_path_challenge_recv_max_queue_len(MAX_PATH_CHALLENGES);
    // A stream of nonsense on every connection would cost each of them a kilobyte or more.
    config.grease(false);
    Ok(config)
}

/// Changes what a connection gets to `transport` when its ClientHello is read: all of it but
/// Retry, which came before that.
pub(super) fn settle(ssl: &mut SslRef, transport: &QuicTransport) -> quiche::Result<()> {
    type Handshake = QuicheConnection;
    let window = transport.initial_congestion_window;
    let payload = transport.max_send_udp_payload_size;
    Handshake::set_cc_algorithm_in_handshake(ssl, algorithm(transport))?;
    Handshake::set_initial_congestion_window_packets_in_handshake(ssl, window)?;
    Handshake::set_pacing_in_handshake(ssl, transport.pacing)?;
    Handshake::set_max_pacing_rate_in_handshake(ssl, transport.max_pacing_rate)?;
    Handshake::set_max_send_udp_payload_size_in_handshake(ssl, payload)?;
    Handshake::set_discover_pmtu_in_handshake(ssl, transport.path_mtu_discovery, MTU_PROBES)?;
    Handshake::set_max_idle_timeout_in_handshake(ssl, idle_timeout(transport))?;
    Handshake::set_initial_max_streams_bidi_in_handshake(ssl, transport.initial_max_streams_bidi)?;
    Handshake::set_flow_control_in_handshake(
        ssl,
        transport.initial_max_data,
        transport.initial_max_stream_data,
        transport.max_connection_window,
        transport.max_stream_window,
    )?;
    Handshake::set_disable_active_migration_in_handshake(ssl, !transport.active_migration)?;
    Handshake::enable_dgram_in_handshake(ssl, transport.datagrams)
}

fn algorithm(transport: &QuicTransport) -> Algorithm {
    match transport.congestion_control {
        CongestionControl::Cubic => Algorithm::CUBIC,
        CongestionControl::Bbr2 => Algorithm::Bbr2Gcongestion,
        CongestionControl::Reno => Algorithm::Reno,
    }
}

/// Milliseconds.
fn idle_timeout(transport: &QuicTransport) -> u64 {
    let idle = transport.max_idle_timeout.as_millis();
    u64::try_from(idle).unwrap_or(MAX_VARINT).min(MAX_VARINT)
}

/// Datagrams that wait to be read, and to be sent; further ones are dropped.
const DATAGRAMS_RECEIVED: usize = 64;
const DATAGRAMS_SENT: usize = 64;
/// What an ordinary path carries, with room for larger ones.
const MAX_RECV_UDP_PAYLOAD: usize = 1_500;
/// Control, QPACK encoder and decoder, and what grease needs (RFC 9114 6.2).
const MAX_STREAMS_UNI: u64 = 8;
/// Also the number of addresses that quiche knows of a client: its moves, and those that others
/// pretend, are followed while one of them is idle.
pub(crate) const ACTIVE_CONNECTION_IDS: u64 = 63;
/// Lost probes after which a size is taken to be too large.
const MTU_PROBES: u8 = 3;
const MAX_PATH_CHALLENGES: usize = 3;
