//! Bytes from and to each address (RFC 9000 8.1).

use std::{collections::HashMap, net::SocketAddr};

#[derive(Default)]
pub(crate) struct Ledger(HashMap<SocketAddr, Bytes>);

#[derive(Default)]
struct Bytes {
    received: usize,
    sent: usize,
    proven: bool,
}

impl Ledger {
    pub(crate) fn received(&mut self, from: SocketAddr, len: usize) {
        self.0.entry(from).or_default().received += len;
    }

    /// Somebody there has answered what was sent there.
    pub(crate) fn proven(&mut self, address: SocketAddr) {
        self.0.entry(address).or_default().proven = true;
    }

    pub(crate) fn sent(&mut self, to: SocketAddr, len: usize) {
        let bytes = self.0.entry(to).or_default();
        bytes.sent += len;
        let (sent, received) = (bytes.sent, bytes.received);
        assert!(
            bytes.proven || sent <= 3 * received,
            "{sent} bytes to {to} for {received}"
        );
    }
}
