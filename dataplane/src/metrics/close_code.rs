//! Names of the error codes in CONNECTION_CLOSE frames, a fixed set: a peer chooses the
//! code, and must not be able to make series.

use crate::quic::metrics::Layer;

/// Names of RFC 9000 20.1 and RFC 9114 8.1 that closes have, and `other`.
pub(super) const CODES: [&str; 38] = [
    "no_error",
    "internal_error",
    "connection_refused",
    "flow_control_error",
    "stream_limit_error",
    "stream_state_error",
    "final_size_error",
    "frame_encoding_error",
    "transport_parameter_error",
    "connection_id_limit_error",
    "protocol_violation",
    "invalid_token",
    "application_error",
    "crypto_buffer_exceeded",
    "key_update_error",
    "aead_limit_reached",
    "no_viable_path",
    "crypto_error",
    "h3_no_error",
    "h3_general_protocol_error",
    "h3_internal_error",
    "h3_stream_creation_error",
    "h3_closed_critical_stream",
    "h3_frame_unexpected",
    "h3_frame_error",
    "h3_excessive_load",
    "h3_id_error",
    "h3_settings_error",
    "h3_missing_settings",
    "h3_request_rejected",
    "h3_request_cancelled",
    "h3_request_incomplete",
    "h3_message_error",
    "h3_connect_error",
    "h3_version_fallback",
    "qpack_error",
    "zero",
    "other",
];

const CRYPTO: usize = 17;
const H3: usize = 18;
const QPACK: usize = 35;
const ZERO: usize = 36;
const OTHER: usize = 37;

/// Index into [`CODES`] of a code.
pub(super) fn index(layer: Layer, code: u64) -> usize {
    match (layer, code) {
        (Layer::Transport, 0..=0x10) => code as usize,
        (Layer::Transport, 0x100..=0x1ff) => CRYPTO,
        (Layer::Application, 0x100..=0x110) => H3 + (code - 0x100) as usize,
        (Layer::Application, 0x200..=0x202) => QPACK,
        // Clients that have no code to say.
        (Layer::Application, 0) => ZERO,
        _ => OTHER,
    }
}

/// Index of the code that says that nothing is wrong.
pub(super) fn usual(layer: Layer) -> usize {
    match layer {
        Layer::Transport => 0,
        Layer::Application => H3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_their_rfcs() {
        let name = |layer, code| CODES[index(layer, code)];
        assert_eq!(name(Layer::Transport, 0x0), "no_error");
        assert_eq!(name(Layer::Transport, 0xa), "protocol_violation");
        assert_eq!(name(Layer::Transport, 0x10), "no_viable_path");
        assert_eq!(name(Layer::Transport, 0x128), "crypto_error");
        assert_eq!(name(Layer::Application, 0x100), "h3_no_error");
        assert_eq!(name(Layer::Application, 0x10b), "h3_request_rejected");
        assert_eq!(name(Layer::Application, 0x110), "h3_version_fallback");
        assert_eq!(name(Layer::Application, 0x201), "qpack_error");
        assert_eq!(name(Layer::Application, u64::MAX >> 2), "other");
    }
}
