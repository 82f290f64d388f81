//! The close of a handshake that fails at the client's first flight, said so that the client
//! can read it.

use super::{Core, core::send_copy};
use crate::quic::{QuicheConnection, initial};

impl Core {
    /// RFC 9000 10.2.3: a server that does not know which keys its client has closes in an
    /// Initial packet as well. quiche sends the Handshake packet alone.
    pub(super) fn refuse_in_initial(&self) {
        let shared = &self.shared;
        let mut qconn = shared.qconn.borrow_mut();
        // quiche gives up on noise as well, and that may be another's.
        if !has_read_hello(&mut qconn) {
            return;
        }
        let Some(error) = qconn.local_error() else {
            return;
        };
        // TLS alerts come before the handshake has keys, and quiche sends those as Initials.
        let told = error.is_app || ALERTS.contains(&error.error_code);
        let (Some(dcid), false) = (&self.initial, told) else {
            return;
        };
        let (source, destination) = (qconn.source_id(), qconn.destination_id());
        let Ok(packet) = initial::close(dcid, &source, &destination, error.error_code) else {
            return;
        };
        if self.unvalidated.limit(packet.len()) < packet.len() {
            return;
        }
        send_copy(shared, &packet, shared.local, shared.peer.get());
    }
}

/// Whether a ClientHello came, in packets that were whole.
fn has_read_hello(qconn: &mut QuicheConnection) -> bool {
    let ssl: &mut boring::ssl::SslRef = qconn.as_mut();
    let mut random = [0; 32];
    ssl.client_random(&mut random);
    random != [0; 32]
}

/// RFC 9001 4.8.
const ALERTS: std::ops::Range<u64> = 0x100..0x200;
