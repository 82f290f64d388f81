//! The context of one certificate of one listener.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use boring::{
    sha::{Sha256, sha256},
    ssl::{SslContext, SslContextBuilder, SslRef, SslVerifyMode},
};

use super::{Door, EarlyData, Terms, Tickets, TlsError, base, expiry, quic};
use crate::{
    capture,
    route::HostPattern,
    snapshot::{Certificate, Listener, QuicTransport},
    sys,
};

/// A certificate of a listener, with the names that it is for.
pub(super) struct Host {
    pub(super) names: Vec<HostPattern>,
    context: SslContext,
    recipe: Recipe,
    /// The same, but it tells its sessions' secrets. Made when there is a session that somebody
    /// wants the secrets of: putting them into words is a hundredth of a handshake's work.
    telling: OnceLock<SslContext>,
    /// Clients are asked for certificates; they must have one if it is set.
    asks: Option<bool>,
    terms: Arc<Terms>,
    /// Its connections get something else than the port's.
    own_transport: bool,
    /// The context of its early data, if it takes any.
    early_data: Option<[u8; 32]>,
}

impl Host {
    pub(super) fn new(
        door: Door,
        listener: &Arc<Listener>,
        certificate: &Arc<Certificate>,
        tickets: &Tickets,
        contexts: &mut Contexts,
        quic: Option<(&QuicTransport, &EarlyData)>,
    ) -> Result<Self, TlsError> {
        let leaf = certificate.chain.first().ok_or(TlsError::NoCertificate)?;
        let recipe = Recipe {
            door,
            listener: listener.clone(),
            certificate: certificate.clone(),
            tickets: tickets.clone(),
        };
        let context = contexts.get(recipe.key(), || Ok(recipe.builder()?.build()))?;
        let names = leaf.subject_alt_names();
        let names = names
            .iter()
            .flatten()
            .filter_map(|name| name.dnsname()?.parse().ok());
        let validation = listener.client_validation.as_ref();
        let port = quic.map(|(port, _)| port);
        let terms = Terms::on(port, listener);
        let early_data = quic
            .filter(|_| takes_early_data(listener))
            .map(|(_, early_data)| early_data.context(&terms.transport));
        Ok(Self {
            names: names.collect(),
            context,
            recipe,
            telling: OnceLock::new(),
            asks: validation.map(|validation| validation.required),
            own_transport: port.is_some_and(|port| *port != *terms.transport),
            terms: Arc::new(terms),
            early_data,
        })
    }

    /// Goes on with a handshake under this certificate and this listener's terms.
    pub(super) fn take_over(&self, ssl: &mut SslRef) -> Result<(), TlsError> {
        ssl.set_ssl_context(self.context_for(ssl)?)?;
        sys::shed_handshake_config(ssl);
        // A context's verification mode is not taken over with it.
        match self.asks {
            None => ssl.set_verify(SslVerifyMode::NONE),
            Some(true) => {
                ssl.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
            }
            Some(false) => ssl.set_custom_verify_callback(SslVerifyMode::PEER, |_| Ok(())),
        }
        if self.own_transport {
            quic::settle(ssl, &self.terms.transport)?;
        }
        if let Some(context) = &self.early_data {
            sys::accept_early_data(ssl, context)?;
        }
        Ok(self.terms.put(ssl)?)
    }

    fn context_for(&self, ssl: &SslRef) -> Result<&SslContext, TlsError> {
        if !capture::wants_secrets(ssl) {
            return Ok(&self.context);
        }
        if let Some(context) = self.telling.get() {
            return Ok(context);
        }
        let mut builder = self.recipe.builder()?;
        builder.set_keylog_callback(capture::log_secret);
        Ok(self.telling.get_or_init(|| builder.build()))
    }
}

/// Early data comes before a client has proven anything: its address, to begin with, and what
/// its certificate is worth today.
pub(super) fn takes_early_data(listener: &Listener) -> bool {
    listener.quic.early_data && listener.client_validation.is_none() && listener.admission.is_open()
}

/// All that a context is made of.
struct Recipe {
    door: Door,
    listener: Arc<Listener>,
    certificate: Arc<Certificate>,
    tickets: Tickets,
}

impl Recipe {
    fn builder(&self) -> Result<SslContextBuilder, TlsError> {
        let Self { door, listener, .. } = self;
        let mut builder = base(*door, &self.tickets)?;
        let chain = self.certificate.chain.split_first();
        let (leaf, intermediates) = chain.ok_or(TlsError::NoCertificate)?;
        builder.set_certificate(leaf)?;
        for intermediate in intermediates {
            builder.add_extra_chain_cert(intermediate.clone())?;
        }
        builder.set_private_key(&self.certificate.key)?;
        let mut context_id = format!("{door:?} {}", listener.id).into_bytes();
        if let Some(validation) = &listener.client_validation {
            // Who was let in by other authorities, or by none, has to show a certificate.
            context_id.extend(validation.fingerprint);
            builder.set_cert_store(validation.store()?);
            builder.set_cert_verify_callback(expiry::verify);
            for authority in &validation.authorities {
                builder.add_client_ca(authority)?;
            }
        }
        builder.set_session_id_context(&sha256(&context_id))?;
        Ok(builder)
    }

    fn key(&self) -> Key {
        let mut hash = Sha256::new();
        hash.update(&[self.door as u8]);
        hash.update(&self.certificate.fingerprint);
        hash.update(&self.tickets.fingerprint);
        let validation = self.listener.client_validation.as_ref();
        hash.update(&validation.map_or([0; 32], |validation| validation.fingerprint));
        hash.update(self.listener.id.as_bytes());
        hash.finish()
    }
}

type Key = [u8; 32];

/// The contexts of a configuration. The next one gets those that would be the same, so that
/// a change of a route costs no work on certificates.
#[derive(Default)]
pub struct Contexts {
    before: HashMap<Key, SslContext>,
    now: HashMap<Key, SslContext>,
    made: usize,
}

impl Contexts {
    /// For the next configuration.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self {
            before: self.now.clone(),
            ..Self::default()
        }
    }

    /// How many could not be taken over.
    pub fn made(&self) -> usize {
        self.made
    }

    /// The configuration is in service: what it has no use for is forgotten.
    pub fn settle(&mut self) {
        self.before = HashMap::new();
    }

    fn get(
        &mut self,
        key: Key,
        make: impl FnOnce() -> Result<SslContext, TlsError>,
    ) -> Result<SslContext, TlsError> {
        if let Some(context) = self.now.get(&key).or_else(|| self.before.get(&key)) {
            let context = context.clone();
            self.now.insert(key, context.clone());
            return Ok(context);
        }
        let context = make()?;
        self.made += 1;
        self.now.insert(key, context.clone());
        Ok(context)
    }
}
