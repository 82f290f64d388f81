//! TLS over TCP: HTTP/2 and HTTP/1.1.

use std::sync::Arc;

use boring::ssl::{Ssl, SslContext, SslMode, SslRef};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_boring::{SslStream, SslStreamBuilder};

use super::{Contexts, Door, EchCounts, Tickets, TlsError, root};
use crate::snapshot::Binding;

/// Accepts TLS on one binding.
pub struct TcpAcceptor {
    context: SslContext,
}

/// A client got no TLS session: the handshake failed, or the client went away.
#[derive(Debug, thiserror::Error)]
#[error("the TLS handshake failed")]
pub struct AcceptError;

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

    /// Performs the handshake. `prepare` sees the session before it.
    ///
    /// # Errors
    /// When it fails.
    pub async fn accept<S>(
        &self,
        stream: S,
        prepare: impl FnOnce(&mut SslRef),
    ) -> Result<SslStream<S>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut ssl = Ssl::new(&self.context).map_err(|_| AcceptError)?;
        prepare(&mut ssl);
        let accepting = SslStreamBuilder::new(ssl, stream).accept();
        accepting.await.map_err(|_| AcceptError)
    }
}
