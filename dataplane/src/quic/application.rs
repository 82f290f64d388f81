//! What is served over a QUIC connection.

use super::{
    HandshakeInfo, QuicheConnection, command::ConnectionShutdownBehaviour, metrics::Metrics,
};

/// An application protocol on one connection.
///
/// The connection's worker calls it in turns. A turn: packets that came in are fed to
/// quiche; [`process_reads`](Self::process_reads) if there were any;
/// [`process_writes`](Self::process_writes); packets go out. Between turns the worker
/// waits for a packet, a timer, a command or [`wait_for_data`](Self::wait_for_data).
///
/// An error of any method ends the work: the worker sends the close that it names.
/// Everything runs on the shard's thread, so nothing here may block.
#[allow(async_fn_in_trait, reason = "applications never leave their thread")]
pub trait ApplicationOverQuic: 'static {
    /// The handshake is complete, or there is early data, and admission let the connection
    /// in. Called once, before everything else. Until quiche says that the connection is
    /// established, what is read may be a copy of what somebody else sent.
    ///
    /// # Errors
    /// The close to send instead of serving.
    fn on_conn_established(
        &mut self,
        qconn: &mut QuicheConnection,
        handshake: &HandshakeInfo,
    ) -> Result<(), ApplicationError>;

    /// Whether reads and writes are to be called in this turn.
    fn should_act(&self) -> bool {
        true
    }

    /// Resolves when there is something to write that no packet announced.
    ///
    /// It is dropped and called again whenever something else begins a turn, so it must
    /// be cancel-safe: what it resolves for stays where `process_writes` finds it.
    ///
    /// # Errors
    /// The close to send.
    async fn wait_for_data(&mut self) -> Result<(), ApplicationError>;

    /// Reads what packets brought.
    ///
    /// # Errors
    /// The close to send.
    fn process_reads(&mut self, qconn: &mut QuicheConnection) -> Result<(), ApplicationError>;

    /// Adds what is to be sent. Called in every turn, just before packets go out.
    ///
    /// # Errors
    /// The close to send.
    fn process_writes(&mut self, qconn: &mut QuicheConnection) -> Result<(), ApplicationError>;

    /// Whether packets of this turn have begun work whose results are still to come, and
    /// nothing was written. Then acknowledgements wait a moment, to go with the results.
    fn answers_follow(&mut self) -> bool {
        false
    }

    /// Nothing came for a while: memory that is only to spare can be given back. quiche has
    /// freed the TLS session by now; what is to be known of it has to be asked for before.
    fn rest(&mut self) {}

    /// The connection drains. Called once for each phase, in order, a round trip apart.
    ///
    /// # Errors
    /// The close to send.
    fn on_drain(
        &mut self,
        qconn: &mut QuicheConnection,
        phase: DrainPhase,
    ) -> Result<(), ApplicationError>;

    /// The close that ends a drained connection.
    fn goodbye(&self) -> ConnectionShutdownBehaviour;

    /// How much work there is: a draining connection without any is closed.
    fn activity(&self) -> Activity;

    /// The work is over; a CONNECTION_CLOSE may still have to go out. `result` is `Ok`
    /// when the connection ended without an error of this side.
    fn on_conn_close(
        &mut self,
        qconn: &mut QuicheConnection,
        metrics: &dyn Metrics,
        result: &Result<(), ApplicationError>,
    ) {
        let _ = (qconn, metrics, result);
    }
}

/// Steps of a drain (RFC 9114 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainPhase {
    /// Announce that the end is near; what the client already sent is still taken.
    Announce,
    /// Name the first request that is refused.
    Refuse,
}

/// Requests of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Begun, ever.
    pub requests: u64,
    /// Under way.
    pub active: u64,
    /// Answered, but the client may not have all of the answer yet.
    pub undelivered: u64,
}

impl Activity {
    /// Whether the connection can end without a loss.
    pub fn is_idle(&self) -> bool {
        self.active == 0 && self.undelivered == 0
    }
}

/// Why an application ends its connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApplicationError {
    /// It wants this close to be sent.
    #[error("closed with {0:?}")]
    Close(ConnectionShutdownBehaviour),
    /// quiche has closed the connection already, with the protocol's own error.
    #[error("the protocol was violated: {0}")]
    Protocol(String),
}
