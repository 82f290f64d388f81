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
}

impl PortSettings {
    /// Takes over what `other` says and this does not.
    pub(super) fn complete(&mut self, other: &Self) {
        fn whole(own: &mut u64, other: u64) {
            if *own == 0 {
                *own = other;
            }
        }
        self.retry = self.retry.or(other.retry);
        self.migration = self.migration.or(other.migration);
        self.datagrams = self.datagrams.or(other.datagrams);
        whole(&mut self.handshake_timeout_ms, other.handshake_timeout_ms);
        whole(&mut self.initial_max_data, other.initial_max_data);
        let stream_data = other.initial_max_stream_data;
        whole(&mut self.initial_max_stream_data, stream_data);
    }

    /// The fields of which both say something, and not the same.
    pub(super) fn contradicted_by(&self, other: &Self) -> Vec<&'static str> {
        fn differ<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            one.is_some() && other.is_some() && one != other
        }
        let said = |value: u64| (value > 0).then_some(value);
        let numbers = |of: fn(&Self) -> u64| differ(said(of(self)), said(of(other)));
        let fields = [
            ("retry", differ(self.retry, other.retry)),
            (
                "transport.handshakeTimeout",
                numbers(|it| it.handshake_timeout_ms),
            ),
            (
                "transport.initialMaxData",
                numbers(|it| it.initial_max_data),
            ),
            (
                "transport.initialMaxStreamData",
                numbers(|it| it.initial_max_stream_data),
            ),
            (
                "transport.migration",
                differ(self.migration, other.migration),
            ),
            (
                "transport.datagrams",
                differ(self.datagrams, other.datagrams),
            ),
        ];
        let contradicted = fields.into_iter().filter(|(_, differ)| *differ);
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
        for (field, value) in [
            (&mut quic.handshake_timeout_ms, self.handshake_timeout_ms),
            (&mut quic.initial_max_data, self.initial_max_data),
            (
                &mut quic.initial_max_stream_data,
                self.initial_max_stream_data,
            ),
        ] {
            if value > 0 {
                *field = value;
            }
        }
    }
}
