//! From a client's first packet to a connection, or to a Retry.

use std::{
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use quiche::{ConnectionId, RetryConnectionIds};
use rand::RngExt as _;

use super::Listener;
use crate::quic::{
    BytesFactory, HandshakeInfo, InitialConnection,
    endpoint::{EndpointKeys, Tables},
    half_open::Entrance,
    incoming::Incoming,
    metrics::DatagramDrop,
    shared::Shared,
    token::{self, InvalidToken, RetryToken},
    worker::Core,
};

impl Listener {
    /// Begins a connection with an Initial that belongs to none, if it may.
    pub(super) fn begin(
        &self,
        incoming: Incoming,
        dcid: Vec<u8>,
        scid: &[u8],
        token: &[u8],
        keys: &Rc<EndpointKeys>,
        now: SystemTime,
    ) {
        let Some(mode) = self
            .settings
            .borrow()
            .as_ref()
            .map(|settings| settings.retry)
        else {
            return self.drop_all(&incoming, DatagramDrop::ListenerStopped);
        };
        let token = match self.validated(&incoming, &dcid, token, keys, now) {
            Ok(token) => token,
            Err(InvalidToken::Malformed) => None,
            Err(InvalidToken::Forged | InvalidToken::Expired) => {
                return self.drop(DatagramDrop::InvalidToken);
            }
        };
        let entrance = {
            let mut half_open = self.endpoint.tables.half_open.borrow_mut();
            let made = token.as_ref().map(|token| token.made);
            let entrance = half_open.admit(incoming.peer_addr.ip(), made, mode, now);
            let metrics = self.endpoint.host.metrics();
            metrics.retrying(half_open.retrying(now));
            entrance
        };
        match entrance {
            Entrance::Begin => {}
            Entrance::Validate => {
                return self.retry(&incoming, &dcid, scid, &keys.retry[0], now);
            }
            Entrance::Refuse(reason) => return self.drop(reason),
        }
        let original = token.map(|token| token.original_dcid);
        let begun = Instant::now();
        match self.connect(incoming, dcid, original, now) {
            Some(connection) => (self.accept)(connection),
            None => self.drop(DatagramDrop::Setup),
        }
        // It counts as the handshake's time: no waiting for it, but the next ones may.
        self.endpoint.tables.turnstile.spend(begun.elapsed());
    }

    /// The Retry token, if there is one that proves the address.
    fn validated(
        &self,
        incoming: &Incoming,
        dcid: &[u8],
        token: &[u8],
        keys: &EndpointKeys,
        now: SystemTime,
    ) -> Result<Option<RetryToken>, InvalidToken> {
        if token.is_empty() {
            return Ok(None);
        }
        token::open_retry(&keys.retry, token, incoming.peer_addr, dcid, now).map(Some)
    }

    fn connect(
        &self,
        incoming: Incoming,
        dcid: Vec<u8>,
        original: Option<Vec<u8>>,
        now: SystemTime,
    ) -> Option<InitialConnection> {
        let endpoint = &self.endpoint;
        let handle = endpoint.host.vacant();
        // The low bits count on from a random start.
        let nonce = rand::rng().random();
        let (scid, reset) = endpoint.new_connection_id(handle, nonce);
        let id = ConnectionId::from_ref(&scid);
        let mut settings = self.settings.borrow_mut();
        let settings = settings.as_mut()?;
        settings.config.set_stateless_reset_token(Some(reset));
        let Incoming {
            local_addr,
            peer_addr,
            ..
        } = incoming;
        let qconn = match &original {
            Some(original) => quiche::accept_with_retry::<BytesFactory>(
                &id,
                RetryConnectionIds {
                    original_destination_cid: &ConnectionId::from_ref(original),
                    retry_source_cid: &ConnectionId::from_ref(&dcid),
                },
                local_addr,
                peer_addr,
                &mut settings.config,
            ),
            None => quiche::accept_with_buf_factory::<BytesFactory>(
                &id,
                None,
                local_addr,
                peer_addr,
                &mut settings.config,
            ),
        };
        let queued = incoming
            .rx_time
            .and_then(|received| now.duration_since(received).ok());
        let handshake = HandshakeInfo::new(
            Instant::now(),
            Some(settings.handshake_timeout).filter(|timeout| *timeout > Duration::ZERO),
            queued.unwrap_or_default(),
            original.is_some(),
        );
        let mut qconn = qconn.ok()?;
        let captured = endpoint.host.begins(handle, &mut qconn, peer_addr.ip());
        let shared = Rc::new(Shared::new(
            endpoint.clone(),
            handle,
            qconn,
            scid,
            local_addr,
            peer_addr,
            handshake,
        ));
        shared.captured.replace(captured);
        let registered = endpoint.host.register(shared.clone());
        debug_assert_eq!(
            registered, handle,
            "nothing registers between vacant and here"
        );
        let Tables { map, half_open, .. } = &endpoint.tables;
        map.borrow_mut().insert(handle, shared.clone());
        let (client, validated) = (peer_addr.ip(), original.is_some());
        let counts = half_open
            .borrow_mut()
            .begin(&dcid, handle, client, validated);
        let metrics = endpoint.host.metrics();
        metrics.initial_accepted();
        metrics.connection_opened();
        metrics.half_open(counts);
        shared.deliver(incoming);
        Some(InitialConnection::new(Core::new(shared, nonce, dcid)))
    }
}
