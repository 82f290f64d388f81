//! What a handshake was made under, kept with its session.

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

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
    /// Whom the listener believed when the client passed, in this handshake or in the one whose
    /// session it resumed: fingerprints. `None`: clients were not asked.
    authorities: Option<Arc<BTreeSet<[u8; 32]>>>,
    /// The client's certificate was verified, rather than only asked for.
    pub verified: bool,
}

impl Terms {
    /// On a port with these transport settings, if it is QUIC's.
    pub(super) fn on(port: Option<&QuicTransport>, listener: &Listener) -> Self {
        let validation = listener.client_validation.as_ref();
        Self {
            listener: listener.id.clone(),
            transport: match port {
                Some(port) => Arc::new(listener.quic.on(port)),
                None => listener.quic.clone(),
            },
            authorities: validation.map(|validation| validation.trusted.clone()),
            verified: validation.is_some_and(|validation| validation.required),
        }
    }

    /// Whether requests for `listener` may come over this connection, as far as clients'
    /// certificates are concerned: it would have let the client in as well, whichever of the
    /// authorities had vouched for it.
    pub fn suffice_for(&self, listener: &Listener) -> bool {
        let Some(wanted) = &listener.client_validation else {
            return true;
        };
        let still_trusted = |authorities: &Arc<BTreeSet<_>>| {
            Arc::ptr_eq(authorities, &wanted.trusted) || authorities.is_subset(&wanted.trusted)
        };
        self.listener == listener.id
            && self.verified == wanted.required
            && self.authorities.as_ref().is_some_and(still_trusted)
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
