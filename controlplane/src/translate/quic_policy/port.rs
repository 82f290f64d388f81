//! Settings that all listeners of a port share.
//!
//! A port's listeners are told apart by the server name of a ClientHello. What QUIC needs
//! before it has read that, cannot be one listener's.

use tidegate_proto::v1;

/// What a policy says of its listeners' ports.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PortSettings {
    pub(super) retry: Option<v1::RetryMode>,
    pub(super) migration: Option<bool>,
    pub(super) datagrams: Option<bool>,
    /// Milliseconds. Zero: it is not said, as of those that follow.
    pub(super) handshake_timeout_ms: u64,
    pub(super) initial_max_data: u64,
    pub(super) initial_max_stream_data: u64,
    pub(super) max_connection_window: u64,
    pub(super) max_stream_window: u64,
}

impl PortSettings {
    /// Takes over what `other` says and this does not.
    pub(super) fn complete(&mut self, other: &Self) {
        self.retry = self.retry.or(other.retry);
        self.migration = self.migration.or(other.migration);
        self.datagrams = self.datagrams.or(other.datagrams);
        for (own, (_, value)) in self.numbers_mut().into_iter().zip(other.numbers()) {
            if *own == 0 {
                *own = value;
            }
        }
    }

    /// The fields of which both say something, and not the same.
    pub(super) fn contradicted_by(&self, other: &Self) -> Vec<&'static str> {
        fn differ<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            one.is_some() && other.is_some() && one != other
        }
        let words = [
            ("retry", differ(self.retry, other.retry)),
            (
                "transport.migration",
                differ(self.migration, other.migration),
            ),
            (
                "transport.datagrams",
                differ(self.datagrams, other.datagrams),
            ),
        ];
        let said = |value: u64| Some(value).filter(|value| *value > 0);
        let numbers = self.numbers().into_iter().zip(other.numbers());
        let numbers =
            numbers.map(|((field, own), (_, other))| (field, differ(said(own), said(other))));
        let contradicted = words
            .into_iter()
            .chain(numbers)
            .filter(|(_, differ)| *differ);
        contradicted.map(|(field, _)| field).collect()
    }

    pub(super) fn put(&self, quic: &mut v1::QuicTransport) {
        if let Some(retry) = self.retry {
            quic.set_retry(retry);
        }
        if let Some(migration) = self.migration {
            quic.disable_active_migration = !migration;
        }
        quic.datagrams = self.datagrams.unwrap_or(quic.datagrams);
        let fields = [
            &mut quic.handshake_timeout_ms,
            &mut quic.initial_max_data,
            &mut quic.initial_max_stream_data,
            &mut quic.max_connection_window,
            &mut quic.max_stream_window,
        ];
        for (field, (_, value)) in fields.into_iter().zip(self.numbers()) {
            if value > 0 {
                *field = value;
            }
        }
    }

    /// What is said in numbers, by the names of the policy's fields.
    fn numbers(&self) -> [(&'static str, u64); 5] {
        [
            ("transport.handshakeTimeout", self.handshake_timeout_ms),
            ("transport.initialMaxData", self.initial_max_data),
            (
                "transport.initialMaxStreamData",
                self.initial_max_stream_data,
            ),
            ("transport.maxConnectionWindow", self.max_connection_window),
            ("transport.maxStreamWindow", self.max_stream_window),
        ]
    }

    fn numbers_mut(&mut self) -> [&mut u64; 5] {
        [
            &mut self.handshake_timeout_ms,
            &mut self.initial_max_data,
            &mut self.initial_max_stream_data,
            &mut self.max_connection_window,
            &mut self.max_stream_window,
        ]
    }
}
