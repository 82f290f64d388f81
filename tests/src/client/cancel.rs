//! Requests that are taken back. A stream of h3 ends what it sent, and stops what it receives,
//! when it is let go; these do only what they are told, for as long as they are held.

use quinn::{ConnectionError, RecvStream, SendStream, VarInt};

use super::{H3, raw};

/// RFC 9114 8.1.
const H3_REQUEST_CANCELLED: VarInt = VarInt::from_u32(0x10c);

/// By which frames a request is taken back (RFC 9114 4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// RESET_STREAM alone: the request does not end, and its answer is still welcome.
    Reset,
    /// STOP_SENDING alone, after the request's end.
    Stop,
    /// Both, before the request's end.
    Both,
}

impl Cancel {
    pub const ALL: [Self; 3] = [Self::Reset, Self::Stop, Self::Both];
}

/// A request on a stream of its own, of which the head was sent.
pub struct Revocable {
    send: SendStream,
    receive: RecvStream,
}

impl H3 {
    /// Begins a GET request for a path.
    pub async fn begin_revocable(&self, path: &str) -> Result<Revocable, ConnectionError> {
        let (mut send, receive) = self.connection.open_bi().await?;
        let head = raw::get(&self.target, path);
        // It fails with the connection only, or once the server has stopped it.
        let _stopped = send.write_all(&head).await;
        Ok(Revocable { send, receive })
    }
}

impl Revocable {
    /// Takes it back. What has not left by now never will, which makes an attack of it a
    /// waste of time.
    pub fn cancel(&mut self, how: Cancel) {
        if how == Cancel::Stop {
            let _closed = self.send.finish();
        } else {
            let _closed = self.send.reset(H3_REQUEST_CANCELLED);
        }
        if how != Cancel::Reset {
            let _closed = self.receive.stop(H3_REQUEST_CANCELLED);
        }
    }
}
