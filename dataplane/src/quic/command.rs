//! Commands that are executed on a connection, on the thread that owns it.

use std::fmt;

use tidegate_proto::v1;

use super::{QuicheConnection, stats};

/// What to do with a QUIC connection.
pub enum QuicCommand {
    /// Close it. Packets may still go out afterwards: the worker sends the frame, keeps
    /// the closing period (RFC 9000 10.2) and then ends.
    ConnectionClose(ConnectionShutdownBehaviour),
    /// Run a function on the connection.
    Custom(Box<dyn FnOnce(&mut QuicheConnection)>),
    /// Read the statistics of this moment.
    Stats(Box<dyn FnOnce(v1::SocketStats)>),
}

impl QuicCommand {
    /// Performs the command.
    pub fn execute(self, qconn: &mut QuicheConnection) {
        match self {
            Self::ConnectionClose(behaviour) => behaviour.apply(qconn),
            Self::Custom(run) => run(qconn),
            Self::Stats(reply) => reply(stats::socket_stats(qconn)),
        }
    }
}

impl fmt::Debug for QuicCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectionClose(behaviour) => {
                f.debug_tuple("ConnectionClose").field(behaviour).finish()
            }
            Self::Custom(_) => f.write_str("Custom(..)"),
            Self::Stats(_) => f.write_str("Stats(..)"),
        }
    }
}

/// The CONNECTION_CLOSE frame to send (RFC 9000 19.19).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionShutdownBehaviour {
    /// An application close (0x1d) rather than a transport one (0x1c). Before the
    /// handshake is confirmed it becomes the transport error APPLICATION_ERROR without
    /// a reason, as RFC 9000 10.2.3 asks.
    pub send_application_close: bool,
    /// Transport (RFC 9000 20.1) or application (RFC 9114 8.1) error code.
    pub error_code: u64,
    /// The reason phrase.
    pub reason: Vec<u8>,
}

impl ConnectionShutdownBehaviour {
    /// A close of the application's own.
    pub fn application(error_code: u64, reason: impl Into<Vec<u8>>) -> Self {
        Self {
            send_application_close: true,
            error_code,
            reason: reason.into(),
        }
    }

    pub(crate) fn apply(&self, qconn: &mut QuicheConnection) {
        // `Done` means that the connection is closed already: the first close counts.
        let _already_closed =
            qconn.close(self.send_application_close, self.error_code, &self.reason);
    }
}

impl From<v1::ConnectionShutdownBehaviour> for ConnectionShutdownBehaviour {
    fn from(message: v1::ConnectionShutdownBehaviour) -> Self {
        Self {
            send_application_close: message.send_application_close,
            error_code: message.error_code,
            reason: message.reason.into_bytes(),
        }
    }
}
