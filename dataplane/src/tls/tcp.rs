//! TLS over TCP: HTTP/2 and HTTP/1.1.

use std::{sync::Arc, time::Duration};

use boring::ssl::{Ssl, SslContext, SslMode, SslRef};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_boring::{SslStream, SslStreamBuilder};

use super::{Contexts, Door, EchCounts, Tickets, TlsError, root};
use crate::snapshot::Binding;

/// Accepts TLS on one binding.
pub struct TcpAcceptor {
    context: SslContext,
}

/// Why a client got no TLS session.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// It took too long.
    #[error("the TLS handshake did not complete in time")]
    Timeout,
    /// The handshake failed, or the client went away.
    #[error("the TLS handshake failed")]
    Failed,
}

impl TcpAcceptor {
    /// An acceptor for the listeners of a binding.
    ///
    /// # Errors
    /// When BoringSSL refuses a certificate.
    pub fn new(
        binding: &Arc<Binding>,
        tickets: &Tickets,
        contexts: &mut Contexts,
        ech_counts: &Arc<EchCounts>,
    ) -> Result<Self, TlsError> {
        let mut builder = root(Door::Tcp, binding, tickets, contexts, None, ech_counts)?;
        // What a write could not finish comes again with what was added, from wherever it is then.
        builder.set_mode(SslMode::ACCEPT_MOVING_WRITE_BUFFER | SslMode::ENABLE_PARTIAL_WRITE);
        Ok(Self {
            context: builder.build(),
        })
    }

    /// Performs the handshake, within `limit`. `prepare` sees the session before it.
    ///
    /// # Errors
    /// When it fails or takes too long.
    pub async fn accept<S>(
        &self,
        stream: S,
        limit: Duration,
        prepare: impl FnOnce(&mut SslRef),
    ) -> Result<SslStream<S>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut ssl = Ssl::new(&self.context).map_err(|_| AcceptError::Failed)?;
        prepare(&mut ssl);
        match timeout(limit, SslStreamBuilder::new(ssl, stream).accept()).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(_)) => Err(AcceptError::Failed),
            Err(_) => Err(AcceptError::Timeout),
        }
    }
}
