//! From a client's first packet to a connection, or to a Retry.

use std::{
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use quiche::{ConnectionId, RetryConnectionIds};

use super::Listener;
use crate::{
    quic::{
        BytesFactory, HandshakeInfo, InitialConnection,
        endpoint::EndpointKeys,
        incoming::Incoming,
        metrics::DatagramDrop,
        shared::Shared,
        token::{self, InvalidToken},
        worker::Core,
    },
    snapshot::RetryMode,
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
        let half_open = self.endpoint.tables.map.borrow().half_open();
        if half_open >= MAX_HALF_OPEN {
            return self.drop(DatagramDrop::HandshakeLimit);
        }
        let validated = match self.validated(&incoming, &dcid, token, keys, now) {
            Ok(validated) => validated,
            Err(InvalidToken::Malformed) => None,
            Err(InvalidToken::Forged | InvalidToken::Expired) => {
                return self.drop(DatagramDrop::InvalidToken);
            }
        };
        if validated.is_none() && self.wants_retry(half_open) {
            return self.retry(&incoming, &dcid, scid, &keys.retry[0], now);
        }
        match self.connect(incoming, dcid, validated, now) {
            Some(connection) => (self.accept)(connection),
            None => self.drop(DatagramDrop::Setup),
        }
    }

    /// The original destination connection ID, if the token proves the address.
    fn validated(
        &self,
        incoming: &Incoming,
        dcid: &[u8],
        token: &[u8],
        keys: &EndpointKeys,
        now: SystemTime,
    ) -> Result<Option<Vec<u8>>, InvalidToken> {
        if token.is_empty() {
            return Ok(None);
        }
        token::open_retry(&keys.retry, token, incoming.peer_addr, dcid, now)
            .map(|token| Some(token.original_dcid))
    }

    fn wants_retry(&self, half_open: usize) -> bool {
        match self.settings.borrow().retry {
            RetryMode::Always => true,
            RetryMode::Never => false,
            RetryMode::Adaptive => half_open >= RETRY_HALF_OPEN,
        }
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
        let mut nonce = [0; 8];
        boring::rand::rand_bytes(&mut nonce).ok()?;
        // The low bits count on from a random start.
        let nonce = u64::from_be_bytes(nonce);
        let (scid, reset) = endpoint.new_connection_id(handle, nonce);
        let id = ConnectionId::from_ref(&scid);
        let mut settings = self.settings.borrow_mut();
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
        let shared = Rc::new(Shared::new(
            endpoint.clone(),
            handle,
            qconn.ok()?,
            scid,
            local_addr,
            peer_addr,
            handshake,
        ));
        let registered = endpoint.host.register(shared.clone());
        debug_assert_eq!(
            registered, handle,
            "nothing registers between vacant and here"
        );
        let mut map = endpoint.tables.map.borrow_mut();
        map.insert(handle, shared.clone());
        map.begin(&dcid, handle);
        drop(map);
        endpoint.host.metrics().initial_accepted();
        endpoint.host.metrics().connection_opened();
        shared.deliver(incoming);
        Some(InitialConnection::new(Core::new(shared, nonce, vec![dcid])))
    }
}

/// Half-open handshakes of a shard from which on addresses are validated first.
const RETRY_HALF_OPEN: usize = 256;
/// Half-open handshakes of a shard that are possible at all: about 100 MiB.
const MAX_HALF_OPEN: usize = 4_096;
