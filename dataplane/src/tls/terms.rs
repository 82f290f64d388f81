//! What a handshake was made under, kept with its session.

use std::sync::{Arc, LazyLock};

use boring::{
    error::ErrorStack,
    ex_data::Index,
    ssl::{Ssl, SslRef},
};

use crate::snapshot::{Listener, QuicTransport};

/// The listener that was chosen for a connection, as it was at that time.
#[derive(Clone, Debug)]
pub struct Terms {
    pub listener: Arc<str>,
    /// What the connection got, if it is QUIC's.
    pub transport: Arc<QuicTransport>,
    /// Fingerprint of the [`ClientValidation`](crate::snapshot::ClientValidation) that the
    /// client has passed, in this handshake or in the one whose session it resumed.
    client_validation: Option<[u8; 32]>,
    /// The client's certificate was verified, rather than only asked for.
    pub verified: bool,
}

impl Terms {
    pub(super) fn of(listener: &Listener) -> Self {
        Self::on(None, listener)
    }

    /// On a port with these transport settings.
    pub(super) fn on(port: Option<&QuicTransport>, listener: &Listener) -> Self {
        let validation = listener.client_validation.as_ref();
        Self {
            listener: listener.id.clone(),
            transport: match port {
                Some(port) => Arc::new(listener.quic.on(port)),
                None => listener.quic.clone(),
            },
            client_validation: validation.map(|validation| validation.fingerprint),
            verified: validation.is_some_and(|validation| validation.required),
        }
    }

    /// Whether requests for `listener` may come over this connection, as far as clients'
    /// certificates are concerned.
    pub fn suffice_for(&self, listener: &Listener) -> bool {
        let wanted = Self::of(listener);
        let of = |terms: &Self| {
            (
                terms.listener.clone(),
                terms.client_validation,
                terms.verified,
            )
        };
        wanted.client_validation.is_none() || of(self) == of(&wanted)
    }

    pub(super) fn put(self: &Arc<Self>, ssl: &mut SslRef) -> Result<(), ErrorStack> {
        ssl.replace_ex_data(index()?, self.clone());
        Ok(())
    }

    /// The terms of a session whose ClientHello was read.
    pub fn get(ssl: &SslRef) -> Option<Arc<Self>> {
        ssl.ex_data(index().ok()?).cloned()
    }
}

fn index() -> Result<Index<Ssl, Arc<Terms>>, ErrorStack> {
    static INDEX: LazyLock<Result<Index<Ssl, Arc<Terms>>, ErrorStack>> =
        LazyLock::new(Ssl::new_ex_index);
    INDEX.clone()
}
