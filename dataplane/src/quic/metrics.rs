//! What the connection layer counts. It says when something happened and how often;
//! how it is named and exported is the implementor's business.

use std::time::Duration;

use tidegate_proto::v1::ClosedBy;

pub use super::half_open::Counts;

/// Counts events of one shard. Called on the hot path: an implementation neither blocks
/// nor allocates.
pub trait Metrics {
    /// Datagrams that came in with one call, and their bytes.
    fn datagrams_received(&self, count: u64, bytes: u64);
    /// Datagrams given to the kernel, and their bytes.
    fn datagrams_sent(&self, count: u64, bytes: u64);
    /// A datagram that nobody will see.
    fn datagram_dropped(&self, reason: DatagramDrop);
    /// Datagrams that the kernel dropped because the socket's buffer was full.
    fn kernel_dropped(&self, count: u64);
    /// A datagram for a connection of another shard, given to that shard.
    fn datagram_handed_over(&self);
    /// A datagram went to another data plane or came from there.
    fn datagram_relayed(&self, leg: Relayed);
    /// An answer that needs no connection.
    fn reply_sent(&self, reply: Reply);
    /// Segments could not be sent with one call (UDP GSO); the socket goes on without.
    fn gso_disabled(&self);
    /// Sending failed for another reason than a full buffer.
    fn write_error(&self);
    /// The socket's send buffer was full for this long.
    fn write_blocked(&self, duration: Duration);

    /// Handshakes that are under way now.
    fn half_open(&self, counts: Counts);
    /// Whether clients have to prove their addresses now, because of many handshakes.
    fn retrying(&self, on: bool);
    /// An Initial that began a connection.
    fn initial_accepted(&self);
    /// A connection's memory was taken.
    fn connection_opened(&self);
    /// A connection's memory was given back. `bandwidth` in bits per second.
    fn connection_closed(&self, by: ClosedBy, bandwidth: u64, loss_pct: u32);
    /// A CONNECTION_CLOSE frame went either way.
    fn close_frame(&self, side: Side, layer: Layer, code: u64);
    /// A handshake was completed. `queued` is the time that the first packet waited.
    fn handshake_completed(&self, queued: Duration, elapsed: Duration, resumed: bool);
    /// What became of early data, on listeners that take any.
    fn early_data(&self, outcome: EarlyDataOutcome);
    /// A handshake ended without a connection.
    fn handshake_failed(&self, reason: HandshakeFailure);
    /// Admission refused an established connection.
    fn admission_refused(&self);
    /// The peer's address changed and was validated.
    fn path_changed(&self);
    /// Discovery found another size for a path's datagrams.
    fn path_mtu_changed(&self);
    /// A command was executed on a connection.
    fn command_executed(&self);
    /// A command was refused because the connection's queue was full.
    fn command_dropped(&self);
    /// DATAGRAM frames (RFC 9221) that nobody on this side wants.
    fn unwanted_datagrams(&self, count: u64);
    /// An HTTP/3 request was refused before it was served.
    fn request_rejected(&self, reason: RequestRejected);
}

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every value, in the order of their discriminants.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The value of the metric's attribute.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

reasons! {
    /// Why a datagram was dropped.
    DatagramDrop {
        /// No bytes.
        Empty = "empty",
        /// Not a QUIC packet.
        Malformed = "malformed",
        /// An Initial in a datagram under 1200 bytes (RFC 9000 14.1).
        Undersized = "undersized",
        /// A long header that cannot begin a connection here.
        Unexpected = "unexpected",
        /// A connection ID that this gateway did not make.
        UnknownConnection = "unknown_connection",
        /// A connection ID of a connection that is gone.
        StaleConnection = "stale_connection",
        /// A connection ID that the client has retired.
        RetiredConnectionId = "retired_connection_id",
        /// A Retry token that is forged, expired or of another address.
        InvalidToken = "invalid_token",
        /// A first Initial that its own connection ID does not open.
        Undecryptable = "undecryptable",
        /// The connection's incoming queue is full.
        IncomingFull = "incoming_full",
        /// The owning shard's ring is full.
        SidewaysFull = "sideways_full",
        /// Too many half-open handshakes.
        HandshakeLimit = "handshake_limit",
        /// Too many half-open handshakes of clients in the same network.
        PrefixLimit = "prefix_limit",
        /// A Retry or Version Negotiation was due, but their rate is limited.
        RateLimited = "rate_limited",
        /// A first packet at a port where HTTP/3 is off, or that is given up.
        ListenerStopped = "listener_stopped",
        /// TLS or the transport could not be set up.
        Setup = "setup",
        /// The socket's send buffer stayed full, or there is no socket for that address.
        SendFull = "send_full",
        /// For a connection of another data plane, but this one or that one does not relay.
        RelayOff = "relay_off",
        /// What came to the relay port does not open with the key.
        RelayForged = "relay_forged",
        /// The relay port's send buffer stayed full.
        RelayFull = "relay_full",
        /// It was relayed to a data plane that has no use for it.
        RelayMisdirected = "relay_misdirected",
    }
}

reasons! {
    /// The four legs of a relayed datagram's way.
    Relayed {
        /// From a client, sent to the data plane that has the connection.
        ToOwner = "to_owner",
        /// From a client, received from the data plane that it reached.
        FromPeer = "from_peer",
        /// To a client, sent to the data plane that the client reaches.
        ToPeer = "to_peer",
        /// To a client, received from the data plane that has the connection and sent on.
        ToClient = "to_client",
    }
}

reasons! {
    /// Answers that need no connection.
    Reply {
        /// RFC 9000 6.1.
        VersionNegotiation = "version_negotiation",
        /// RFC 9000 8.1.2.
        Retry = "retry",
        /// RFC 9000 10.3.
        StatelessReset = "stateless_reset",
    }
}

reasons! {
    /// Which side sent a frame.
    Side {
        /// This one.
        Local = "local",
        /// The client.
        Peer = "peer",
    }
}

reasons! {
    /// Which of the two CONNECTION_CLOSE frames (RFC 9000 19.19).
    Layer {
        /// 0x1c.
        Transport = "transport",
        /// 0x1d.
        Application = "application",
    }
}

reasons! {
    /// What became of early data.
    EarlyDataOutcome {
        /// Its requests were served before the handshake was complete.
        Accepted = "accepted",
        /// The same flight was here before; it waited for the handshake.
        Replayed = "replayed",
        /// Too many flights to remember; it waited for the handshake.
        RegisterFull = "register_full",
        /// The ticket was of another instance, or of other transport settings.
        OtherTicket = "other_ticket",
        /// The client's idea of its ticket's age was off.
        TicketAge = "ticket_age",
        /// The session could not be resumed at all.
        NotResumed = "not_resumed",
        /// The handshake needed another ClientHello.
        HelloRetry = "hello_retry",
        /// The ticket's application protocol was another one.
        Alpn = "alpn",
    }
}

impl EarlyDataOutcome {
    /// Of BoringSSL's `ssl_early_data_reason_t`. `None`: there was none to refuse.
    pub(crate) fn of_refusal(reason: u32) -> Option<Self> {
        match reason {
            6 => Some(Self::NotResumed),
            8 => Some(Self::HelloRetry),
            9 => Some(Self::Alpn),
            12 => Some(Self::TicketAge),
            13 => Some(Self::OtherTicket),
            _ => None,
        }
    }
}

reasons! {
    /// Why a handshake failed.
    HandshakeFailure {
        /// The deadline passed.
        Timeout = "timeout",
        /// The shard had no time for it.
        Overload = "overload",
        /// The client closed or went silent.
        Disconnected = "disconnected",
        /// TLS failed.
        Tls = "tls",
        /// The transport failed.
        Transport = "transport",
        /// This process ended it.
        Aborted = "aborted",
    }
}

reasons! {
    /// Why an HTTP/3 request was refused before it was served.
    RequestRejected {
        /// After GOAWAY (RFC 9114 5.2).
        GoingAway = "going_away",
        /// Malformed (RFC 9114 4.1.2).
        Malformed = "malformed",
        /// The header section was not complete in time.
        HeaderTimeout = "header_timeout",
    }
}

/// Counts nothing: for tests and tools.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMetrics;

impl Metrics for NoMetrics {
    fn datagrams_received(&self, _: u64, _: u64) {}
    fn datagrams_sent(&self, _: u64, _: u64) {}
    fn datagram_dropped(&self, _: DatagramDrop) {}
    fn kernel_dropped(&self, _: u64) {}
    fn datagram_handed_over(&self) {}
    fn datagram_relayed(&self, _: Relayed) {}
    fn reply_sent(&self, _: Reply) {}
    fn gso_disabled(&self) {}
    fn write_error(&self) {}
    fn write_blocked(&self, _: Duration) {}
    fn half_open(&self, _: Counts) {}
    fn retrying(&self, _: bool) {}
    fn initial_accepted(&self) {}
    fn connection_opened(&self) {}
    fn connection_closed(&self, _: ClosedBy, _: u64, _: u32) {}
    fn close_frame(&self, _: Side, _: Layer, _: u64) {}
    fn handshake_completed(&self, _: Duration, _: Duration, _: bool) {}
    fn early_data(&self, _: EarlyDataOutcome) {}
    fn handshake_failed(&self, _: HandshakeFailure) {}
    fn admission_refused(&self) {}
    fn path_changed(&self) {}
    fn path_mtu_changed(&self) {}
    fn command_executed(&self) {}
    fn command_dropped(&self) {}
    fn unwanted_datagrams(&self, _: u64) {}
    fn request_rejected(&self, _: RequestRejected) {}
}
