//! TLS and transport parameters of a QUIC binding.

use std::sync::Arc;

use super::{Contexts, Door, EarlyData, Tickets, TlsError, root};
use crate::snapshot::{Binding, CongestionControl, QuicTransport};

/// What new QUIC connections of a binding get. The transport settings are those of its
/// first listener with HTTP/3: they are sent before the server name is known for certain.
///
/// # Errors
/// When BoringSSL refuses a certificate, or quiche a setting.
pub fn quic_config(
    binding: &Arc<Binding>,
    transport: &QuicTransport,
    tickets: &Tickets,
    contexts: &mut Contexts,
    early_data: &EarlyData,
) -> Result<quiche::Config, TlsError> {
    let context = early_data.context(transport);
    let builder = root(Door::Quic, binding, tickets, contexts, Some(context))?;
    let mut config =
        quiche::Config::with_boring_ssl_ctx_builder(quiche::PROTOCOL_VERSION, builder)?;
    let idle = transport.max_idle_timeout.as_millis() as u64;
    config.set_max_idle_timeout(idle.min(LARGEST));
    config.set_max_recv_udp_payload_size(MAX_RECV_UDP_PAYLOAD);
    config.set_max_send_udp_payload_size(transport.max_send_udp_payload_size);
    let (data, stream_data) = (
        transport.initial_max_data.min(LARGEST),
        transport.initial_max_stream_data.min(LARGEST),
    );
    config.set_initial_max_data(data);
    config.set_initial_max_stream_data_bidi_remote(stream_data);
    config.set_initial_max_stream_data_bidi_local(stream_data);
    config.set_initial_max_stream_data_uni(stream_data);
    config.set_initial_max_streams_bidi(transport.initial_max_streams_bidi.min(MOST_STREAMS));
    config.set_initial_max_streams_uni(MAX_STREAMS_UNI);
    config.set_max_connection_window(MAX_WINDOWS * data);
    config.set_max_stream_window(MAX_WINDOWS * stream_data);
    config.enable_dgram(transport.datagrams, DATAGRAMS_RECEIVED, DATAGRAMS_SENT);
    config.set_disable_active_migration(!transport.active_migration);
    config.set_active_connection_id_limit(ACTIVE_CONNECTION_IDS);
    config.set_cc_algorithm(match transport.congestion_control {
        CongestionControl::Cubic => quiche::CongestionControlAlgorithm::CUBIC,
        CongestionControl::Bbr2 => quiche::CongestionControlAlgorithm::Bbr2Gcongestion,
        CongestionControl::Reno => quiche::CongestionControlAlgorithm::Reno,
    });
    config.set_initial_congestion_window_packets(transport.initial_congestion_window);
    // quiche says when BBR2's packets are due; the worker's pacer heeds that, and paces the others.
    config.enable_pacing(transport.pacing);
    if let Some(rate) = transport.max_pacing_rate {
        config.set_max_pacing_rate(rate);
    }
    config.set_path_challenge_recv_max_queue_len(MAX_PATH_CHALLENGES);
    config.grease(true);
    Ok(config)
}

/// What four bytes hold. quiche has 128 for all transport parameters, in which these have to
/// fit beside three connection IDs after a Retry: a gibibyte, and twelve days.
const LARGEST: u64 = (1 << 30) - 1;
/// What two bytes hold.
const MOST_STREAMS: u64 = (1 << 14) - 1;
/// Datagrams that wait to be read, and to be sent; further ones are dropped.
const DATAGRAMS_RECEIVED: usize = 64;
const DATAGRAMS_SENT: usize = 64;
/// What an ordinary path carries, with room for larger ones.
const MAX_RECV_UDP_PAYLOAD: usize = 1_500;
/// Control, QPACK encoder and decoder, and what grease needs (RFC 9114 6.2).
const MAX_STREAMS_UNI: u64 = 8;
/// How far quiche may grow the flow control windows of a fast reader.
const MAX_WINDOWS: u64 = 8;
/// Also the number of addresses that quiche remembers of a client. It forgets none of them
/// while the connection lives, so this is how often a client's address may change. From 64
/// on it would take a byte more, of which there are few: see [`LARGEST`].
const ACTIVE_CONNECTION_IDS: u64 = 63;
const MAX_PATH_CHALLENGES: usize = 3;
