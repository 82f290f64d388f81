//! How much a connection's keys may protect (RFC 9001 6.6).
//!
//! The more packets are sealed with one key, the less they hide; the more forgeries are
//! tried on it, the likelier one passes. Long before a key's limit both sides go on with
//! the next one. A client that does not follow has its connection drained, which costs no
//! request; one that cannot end by then is closed just before the limit. A client may update
//! keys as well; its updates are not looked for, so more than they sealed may be counted.

use std::time::{Duration, Instant};

use tidegate_proto::v1::ClosedBy;

use super::Core;
use crate::quic::ConnectionShutdownBehaviour;

/// Packets that AES-GCM may seal under one key.
pub const CONFIDENTIALITY_LIMIT: u64 = 1 << 23;

/// What has passed under the keys, and what may.
#[derive(Debug)]
pub(super) struct Usage {
    /// `None`: more than anybody can send.
    sealed_limit: Option<u64>,
    forged_limit: u64,
    sealed: u64,
    fed: u64,
}

/// What the limits ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Nothing.
    GoOn,
    /// The next key should take the place of this one.
    Update,
    /// A new connection should take the place of this one.
    Drain,
    /// No further packet but the close.
    Close,
}

impl Default for Usage {
    /// Before there are keys that last.
    fn default() -> Self {
        Self {
            sealed_limit: None,
            forged_limit: u64::MAX,
            sealed: 0,
            fed: 0,
        }
    }
}

impl Usage {
    /// The handshake is complete. `limit`: packets that AES-GCM may seal.
    pub(super) fn begin(&mut self, cipher: &str, limit: u64) {
        // RFC 9001 6.6: ChaCha20-Poly1305 may seal more than there are packet numbers, but
        // stands fewer forgeries.
        let chacha = cipher.contains("CHACHA20");
        *self = Self {
            sealed_limit: (!chacha).then_some(limit),
            forged_limit: if chacha { 1 << 36 } else { 1 << 52 },
            sealed: 0,
            fed: 0,
        };
    }

    /// What is sealed from now on has another key.
    pub(super) fn updated(&mut self) {
        self.sealed = 0;
    }

    /// A packet was sealed.
    pub(super) fn sealed(&mut self) {
        self.sealed += 1;
    }

    /// Datagrams were given to quiche, which tells only how many it could open.
    pub(super) fn fed(&mut self, datagrams: u64) {
        self.fed += datagrams;
    }

    /// `opened`: packets that quiche could open, asked for only if it matters.
    pub(super) fn advice(&self, opened: impl FnOnce() -> u64) -> Advice {
        if self.fed >= self.forged_limit && self.fed - opened().min(self.fed) >= self.forged_limit {
            return Advice::Close;
        }
        match self.sealed_limit {
            Some(limit) if self.sealed >= limit - margin(limit) => Advice::Close,
            Some(limit) if self.sealed >= limit / 2 => Advice::Drain,
            Some(limit) if self.sealed >= limit / 4 => Advice::Update,
            _ => Advice::GoOn,
        }
    }
}

impl Core {
    /// Lets the connection end before its keys have protected too much. Says whether it
    /// is closed now.
    pub(super) fn spare_keys(&mut self) -> bool {
        let shared = &self.shared;
        let advice = self
            .aead
            .advice(|| shared.qconn.borrow().stats().recv as u64);
        let turns = matches!(advice, Advice::Update | Advice::Drain);
        // Not at once after an update of the client's; it is asked for again in each turn.
        if turns && shared.qconn.borrow_mut().initiate_key_update().is_ok() {
            self.aead.updated();
            return false;
        }
        match advice {
            Advice::GoOn | Advice::Update => false,
            Advice::Drain => {
                shared.drain_for(ClosedBy::AeadLimit, Instant::now() + NO_HURRY);
                false
            }
            Advice::Close => {
                shared.closed_by.set(Some(ClosedBy::AeadLimit));
                self.close(&ConnectionShutdownBehaviour {
                    send_application_close: false,
                    error_code: AEAD_LIMIT_REACHED,
                    reason: b"AEAD limit".to_vec(),
                });
                true
            }
        }
    }
}

/// More than a turn seals, because in between nobody looks.
fn margin(limit: u64) -> u64 {
    (limit / 64).max(1_024).min(limit / 2)
}

/// RFC 9000 20.1.
const AEAD_LIMIT_REACHED: u64 = 0x0f;
/// What ends a drain for the keys' sake is their limit, not a time.
const NO_HURRY: Duration = Duration::from_secs(30 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(usage: &mut Usage, packets: u64) -> Advice {
        usage.sealed += packets;
        usage.advice(|| unreachable!("nothing was received"))
    }

    #[test]
    fn a_key_is_replaced_at_a_quarter_of_its_limit_and_else_drained_and_closed_before_it() {
        for cipher in ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"] {
            let mut usage = Usage::default();
            usage.begin(cipher, CONFIDENTIALITY_LIMIT);
            assert_eq!(sealed(&mut usage, (1 << 21) - 1), Advice::GoOn);
            assert_eq!(sealed(&mut usage, 1), Advice::Update);
            usage.updated();
            assert_eq!(sealed(&mut usage, (1 << 22) - 1), Advice::Update);
            assert_eq!(sealed(&mut usage, 1), Advice::Drain);
            assert_eq!(sealed(&mut usage, 1 << 21), Advice::Drain);
            assert_eq!(sealed(&mut usage, (1 << 21) - (1 << 17)), Advice::Close);
        }
    }

    #[test]
    fn chacha20_seals_as_much_as_there_is() {
        let mut usage = Usage::default();
        usage.begin("TLS_CHACHA20_POLY1305_SHA256", CONFIDENTIALITY_LIMIT);
        assert_eq!(sealed(&mut usage, 1 << 60), Advice::GoOn);
    }

    #[test]
    fn what_could_not_be_opened_counts_as_forged() {
        let mut usage = Usage::default();
        usage.begin("TLS_CHACHA20_POLY1305_SHA256", CONFIDENTIALITY_LIMIT);
        usage.fed((1 << 36) + 5);
        assert_eq!(usage.advice(|| 6), Advice::GoOn);
        assert_eq!(usage.advice(|| 5), Advice::Close);
    }

    #[test]
    fn the_handshake_does_not_count() {
        let mut usage = Usage::default();
        assert_eq!(sealed(&mut usage, 1 << 30), Advice::GoOn);
        usage.begin("TLS_AES_128_GCM_SHA256", 100);
        assert_eq!(sealed(&mut usage, 24), Advice::GoOn);
        assert_eq!(sealed(&mut usage, 1), Advice::Update);
    }
}
