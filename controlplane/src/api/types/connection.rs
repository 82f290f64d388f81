//! Connections: what they are, which are meant, and how they are closed.

use serde::{Deserialize, Serialize};
use tidegate_proto::v1;
use utoipa::ToSchema;

use super::wire::{mirror, mirror_enum};

mirror! {
    /// A page of live connections.
    ConnectionList = v1::ConnectionList {
        /// In order of id.
        connections: Vec<Connection>,
        /// The `after` of the next page; empty at the end.
        next: String,
    }

    /// A connection, live or ended.
    Connection = v1::Connection {
        /// `dataplane.shard.slot.generation`: stable for its life, never a wire CID.
        #[schema(example = "edge.0.17.3")]
        id: String,
        /// `namespace/gateway/listener`.
        #[schema(example = "default/edge/https")]
        listener_id: String,
        /// `quic` or `tcp`.
        #[schema(example = "quic")]
        transport: String,
        /// The client's address and port.
        #[schema(example = "192.0.2.7:52011")]
        peer_address: String,
        /// This side's address and port.
        local_address: String,
        /// UNIX milliseconds at which the first packet was accepted.
        started_at_ms: i64,
        /// Milliseconds since then; of an ended connection, its life.
        age_ms: u64,
        /// How the handshake went.
        handshake: Option<HandshakeInfo>,
        /// Absent on cleartext connections.
        tls: Option<TlsInfo>,
        /// Absent where the transport gives none.
        stats: Option<SocketStats>,
        /// Present once the connection has ended.
        audit: Option<AuditStats>,
        /// Requests begun.
        requests: u64,
        /// Requests under way.
        requests_active: u64,
        /// GOAWAY was sent.
        draining: bool,
        /// `handshake`, `running`, `closing` or `closed`.
        #[schema(example = "running")]
        stage: String,
    }

    /// Times of the handshake.
    HandshakeInfo = v1::HandshakeInfo {
        /// Microseconds that the first packet lay in the socket and the queue. 0: unknown.
        queued_us: u64,
        /// Microseconds until the connection was established. 0: it never was.
        elapsed_us: u64,
        /// Milliseconds that it may take. 0: no limit.
        timeout_ms: u64,
        /// The address was validated by a Retry.
        retry: bool,
    }

    /// What TLS agreed on.
    TlsInfo = v1::TlsInfo {
        /// The name that the client asked for.
        #[schema(example = "shop.example.com")]
        server_name: String,
        /// `h3`, `h2` or `http/1.1`.
        #[schema(example = "h3")]
        alpn: String,
        /// Protocol version.
        #[schema(example = "TLSv1.3")]
        version: String,
        /// Cipher suite.
        cipher: String,
        /// Key exchange group.
        #[schema(example = "X25519MLKEM768")]
        group: String,
        /// A session ticket was used.
        resumed: bool,
        /// 0-RTT data was accepted.
        early_data: bool,
        /// What the client showed, where a listener asks for it.
        client_certificate: Option<ClientCertificate>,
        /// The ClientHello came encrypted, and was read.
        ech_accepted: bool,
    }

    /// A certificate that a client has shown.
    ClientCertificate = v1::ClientCertificate {
        /// Of the DER form, lower-case hex.
        sha256: String,
        /// RFC 2253.
        #[schema(example = "CN=device-7,O=Example")]
        subject: String,
        /// DNS names and URIs, the first 16.
        subject_alt_names: Vec<String>,
        /// It leads to an authority of the listener.
        verified: bool,
    }

    /// RFC 9002 state of the active path and totals of the connection.
    SocketStats = v1::SocketStats {
        /// Path MTU, bytes.
        pmtu: u32,
        /// Smoothed round-trip time, microseconds.
        rtt_us: i64,
        /// Smallest round-trip time, microseconds.
        min_rtt_us: i64,
        /// Largest round-trip time, microseconds.
        max_rtt_us: i64,
        /// Variation of the round-trip time, microseconds.
        rtt_var_us: i64,
        /// Congestion window, bytes.
        cwnd: u64,
        /// Probe time-outs, counted.
        total_pto_count: u64,
        /// Packets.
        packets_sent: u64,
        /// Packets.
        packets_recvd: u64,
        /// Packets declared lost.
        packets_lost: u64,
        /// Packets declared lost that arrived after all.
        packets_lost_spurious: u64,
        /// Packets with data sent again.
        packets_retrans: u64,
        /// Bytes.
        bytes_sent: u64,
        /// Bytes.
        bytes_recvd: u64,
        /// Bytes.
        bytes_lost: u64,
        /// Bytes.
        bytes_retrans: u64,
        /// Bytes that wait to be sent.
        bytes_unsent: u64,
        /// Bytes per second.
        delivery_rate: u64,
        /// Bytes per second; absent where congestion control does not estimate it.
        max_bandwidth: Option<u64>,
        /// Absent while slow start lasts.
        startup_exit: Option<StartupExit>,
        /// Microseconds during which bytes were in flight.
        bytes_in_flight_duration_us: u64,
        /// `cubic`, `bbr2` or `reno`; empty while the handshake is under way.
        congestion_control: String,
        /// Times that QUIC's keys were updated, by either side.
        key_updates: u64,
    }

    /// How slow start ended.
    StartupExit = v1::StartupExit {
        /// Why.
        reason: StartupExitReason,
        /// Congestion window then, bytes.
        cwnd: u64,
        /// Bandwidth then, bytes per second.
        bandwidth: Option<u64>,
    }

    /// What only the end of a connection tells.
    AuditStats = v1::AuditStats {
        /// Of the CONNECTION_CLOSE frame that came. Absent: no such frame.
        recvd_conn_close_transport_error_code: Option<u64>,
        /// Of the CONNECTION_CLOSE frame that was sent. Absent: no such frame.
        sent_conn_close_transport_error_code: Option<u64>,
        /// Of the application CONNECTION_CLOSE frame that came. Absent: no such frame.
        recvd_conn_close_application_error_code: Option<u64>,
        /// Of the application CONNECTION_CLOSE frame that was sent. Absent: no such frame.
        sent_conn_close_application_error_code: Option<u64>,
        /// Reason phrase of the frame that ended it, or what went wrong.
        connection_close_reason: String,
        /// Who closed.
        closed_by: ClosedBy,
        /// Largest bandwidth seen, bits per second.
        max_bandwidth_bps: u64,
        /// Largest loss seen, percent.
        max_loss_pct: u32,
        /// Source connection ID of the handshake, hex.
        quic_connection_id: String,
        /// In order.
        path_changes: Vec<PathChange>,
        /// Datagrams of this connection dropped because its queue was full.
        incoming_dropped: u64,
        /// Datagrams of this connection that came or left by way of another dataplane.
        relayed_datagrams: u64,
        /// What happened to its paths, in order: the first 64 events.
        path_events: Vec<PathEvent>,
        /// Events that came after those.
        path_events_omitted: u64,
    }

    /// The peer's address changed (RFC 9000 section 9).
    PathChange = v1::PathChange {
        /// Milliseconds since the connection began.
        at_ms: u64,
        /// Address and port before.
        from: String,
        /// Address and port since.
        to: String,
    }

    /// Something that happened to a path, which is a pair of addresses (RFC 9000 section 9).
    PathEvent = v1::PathEvent {
        /// Milliseconds since the connection began.
        at_ms: u64,
        /// What.
        kind: PathEventKind,
        /// The client's address and port.
        peer: String,
        /// This side's address and port.
        local: String,
        /// Of `peer_migrated` and `connection_id_reused`: the client's address before.
        before: String,
        /// Of `pmtu_updated`: the largest packet that passes, bytes.
        pmtu: u32,
    }

    /// Connections that a command closed.
    Closed = v1::Closed {
        /// How many.
        count: u64,
    }
}

mirror_enum! {
    /// Who ended a connection.
    ClosedBy = v1::ClosedBy {
        Unspecified,
        /// CONNECTION_CLOSE, a reset or end of file from the client.
        Peer,
        /// The protocol or the application of this side.
        Local,
        /// A close command.
        Command,
        /// A drain.
        Drain,
        /// Nothing was heard for too long.
        IdleTimeout,
        /// The handshake took too long.
        HandshakeTimeout,
        /// Admission refused it.
        Admission,
        /// The process ended before the connection.
        Abort,
        /// It had sent or received as much as one set of keys may protect (RFC 9001 6.6).
        AeadLimit,
    }

    /// What happened to a path.
    PathEventKind = v1::PathEventKind {
        Unspecified,
        /// The first packet of the connection came this way.
        New,
        /// The client answered a challenge.
        Validated,
        /// Nobody answered: the address was forged, or the client has left it.
        ValidationFailed,
        /// The connection ended before anybody answered.
        Unresolved,
        /// The client is here now; the path was validated.
        PeerMigrated,
        /// A connection ID of one path was used on another: a rebinding NAT, or an observer
        /// that sends the client's packets from elsewhere.
        ConnectionIdReused,
        /// The largest packet that passes has changed.
        PmtuUpdated,
        /// It was forgotten to make room for another.
        Closed,
    }

    /// Why slow start ended.
    StartupExitReason = v1::startup_exit::Reason {
        Unspecified,
        /// Packets were lost.
        Loss,
        /// Bandwidth stopped growing.
        BandwidthPlateau,
        /// A queue stayed in the path.
        PersistentQueue,
        /// The rounds of conservative slow start were over.
        ConservativeSlowStartRounds,
    }
}

/// Which connections. Every field that is set must hold; zero and empty mean any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Selector {
    /// Exact server name.
    #[schema(example = "shop.example.com")]
    pub server_name: String,
    /// CIDR range of the peer's address, or one address.
    #[schema(example = "192.0.2.0/24")]
    pub peer: String,
    /// Listener id, `namespace/gateway/listener`.
    #[schema(example = "default/edge/https")]
    pub listener: String,
    /// Least milliseconds since the connection began.
    pub min_age_ms: u64,
    /// Most milliseconds since the connection began.
    pub max_age_ms: u64,
    /// `h3`, `h2` or `http/1.1`.
    #[schema(example = "h3")]
    pub alpn: String,
}

/// The CONNECTION_CLOSE frame to send (RFC 9000 10.2). HTTP/1.1 and HTTP/2 connections
/// are closed with GOAWAY or `Connection: close` and then shut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CloseBehaviour {
    /// An application close (0x1d) rather than a transport one (0x1c).
    pub send_application_close: bool,
    /// Absent: `H3_NO_ERROR` (256) in an application close, `NO_ERROR` (0) in a transport one.
    #[schema(example = 256)]
    pub error_code: Option<u64>,
    /// At most 256 bytes.
    #[schema(example = "maintenance")]
    pub reason: String,
}

impl Default for CloseBehaviour {
    fn default() -> Self {
        Self {
            send_application_close: true,
            error_code: None,
            reason: String::new(),
        }
    }
}

/// Close all connections that a selector matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseSelected {
    /// At least one field must be set.
    pub selector: Selector,
    /// How.
    #[serde(default)]
    pub behaviour: CloseBehaviour,
}
