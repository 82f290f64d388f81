//! Sends around paths on which nothing can be sent any more.
//!
//! A client that knows nothing of its new address, or has no other connection ID yet, goes on with
//! the one that it had, and quiche books that ID on the path before. Once the client has retired
//! it, the path in between still refers to it: whatever is to be sent there fails. As quiche
//! prefers paths that are to be probed, that is what it would send again and again.

use quiche::{Error, SendInfo};

use crate::quic::QuicheConnection;

/// Writes one datagram, as `QuicheConnection::send` does.
pub(super) fn send(
    qconn: &mut QuicheConnection,
    room: &mut [u8],
) -> quiche::Result<(usize, SendInfo)> {
    match qconn.send(room) {
        Err(Error::InvalidState) => around(qconn, room),
        sent => sent,
    }
}

fn around(qconn: &mut QuicheConnection, room: &mut [u8]) -> quiche::Result<(usize, SendInfo)> {
    let paths: Vec<_> = (qconn.path_stats())
        .map(|path| (path.active, path.local_addr, path.peer_addr))
        .collect();
    let mut outcome = Err(Error::InvalidState);
    for (active, local, peer) in paths {
        match qconn.send_on_path(room, Some(local), Some(peer)) {
            Err(Error::InvalidState) => {}
            Err(Error::Done) if active => outcome = Err(Error::Done),
            Err(Error::Done) => {}
            sent => return sent,
        }
    }
    // Where the client is, something can be sent. If not even there, it is no path's fault.
    outcome
}
