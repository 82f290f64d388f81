//! QUICPolicy: HTTP/3 and QUIC on the listeners that it is attached to.

// KubeSchema copies each type into a function, where `pub` reaches nobody.
#![expect(unreachable_pub)]
// Each printed column has a type of its own, and most have the same.
#![allow(clippy::duplicated_attributes)]

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::gateway_api::PolicyStatus;

/// HTTP/3 and QUIC on the listeners of a Gateway or ListenerSet. A policy for one listener
/// takes the place of one for a ListenerSet, and that of one for the Gateway; among equals,
/// the older one is in force.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema,
)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "QUICPolicy",
    plural = "quicpolicies",
    singular = "quicpolicy",
    shortname = "quic",
    category = "gateway-api",
    namespaced,
    status = "PolicyStatus",
    derive = "PartialEq",
    doc = "HTTP/3 and QUIC on the listeners that it is attached to.",
    label("gateway.networking.k8s.io/policy", "Direct"),
    printcolumn(
        name = "Target",
        type_ = "string",
        json_path = ".spec.targetRefs[0].name"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.ancestors[0].conditions[?(@.type==\"Accepted\")].status"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct QUICPolicySpec {
    /// What it is attached to, in its own namespace.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(
        validation = Rule::new("self.all(t, self.exists_one(o, o.kind == t.kind && o.name == t.name && (has(o.sectionName) ? o.sectionName : '') == (has(t.sectionName) ? t.sectionName : '')))")
            .message("no two targets may be the same")
    )]
    pub target_refs: Vec<QuicPolicyTarget>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http3: Option<Http3Policy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<TransportPolicy>,
    /// When clients must prove their address before a handshake. Default Adaptive: while many
    /// handshakes are half open. It holds for the whole port, because it comes before the name that
    /// listeners are told apart by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Adaptive", "Always", "Never"]))]
    pub retry: Option<String>,
    /// Take requests with safe methods in 0-RTT packets, which can be replayed; backends see
    /// `Early-Data: 1`. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_data: Option<bool>,
}

/// A Gateway or ListenerSet, or one listener of it.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct QuicPolicyTarget {
    #[schemars(extend("enum" = ["gateway.networking.k8s.io"]))]
    pub group: String,
    #[schemars(extend("enum" = ["Gateway", "ListenerSet"]))]
    pub kind: String,
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// A listener's name. Absent: every listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
}

/// How clients come to HTTP/3.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(self.enabled) || self.enabled || (!has(self.advertisedPort) && !has(self.altSvcMaxAge))")
        .message("advertisedPort and altSvcMaxAge are for HTTP/3; remove them, or enable it")
)]
#[serde(rename_all = "camelCase")]
pub struct Http3Policy {
    /// Default: the control plane's, which is true unless it was told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// UDP port that clients see, for Alt-Svc. Default: the listener's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub advertised_port: Option<i32>,
    /// How long clients may remember Alt-Svc, in whole seconds. Default 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('8760h')")
            .message("must be between 1s and 8760h")
    )]
    pub alt_svc_max_age: Option<String>,
}

/// RFC 9000 transport parameters and recovery. Listeners that share a port have settings of
/// their own by host name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(self.initialMaxData) || !has(self.initialMaxStreamData) || self.initialMaxStreamData <= self.initialMaxData")
        .message("initialMaxStreamData must not be more than initialMaxData"),
    validation = Rule::new("!has(self.initialMaxData) || !has(self.maxConnectionWindow) || self.initialMaxData <= self.maxConnectionWindow")
        .message("maxConnectionWindow must not be less than initialMaxData"),
    validation = Rule::new("!has(self.initialMaxStreamData) || !has(self.maxStreamWindow) || self.initialMaxStreamData <= self.maxStreamWindow")
        .message("maxStreamWindow must not be less than initialMaxStreamData"),
    validation = Rule::new("!has(self.pacing) || self.pacing || !has(self.maxPacingRate)")
        .message("maxPacingRate needs pacing; remove it, or leave pacing on")
)]
#[serde(rename_all = "camelCase")]
pub struct TransportPolicy {
    /// Default Cubic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Cubic", "BBR2", "Reno"]))]
    pub congestion_control: Option<String>,
    /// Packets that may be sent before the first acknowledgment. Default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 1000))]
    pub initial_congestion_window: Option<i32>,
    /// Whether a window of packets is spread over the round trip, rather than sent at once.
    /// Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pacing: Option<bool>,
    /// Bytes per second that pacing lets through on a connection. Default: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 125000, max = 125000000000_i64))]
    pub max_pacing_rate: Option<i64>,
    /// How long a connection may be silent. Default 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('1h')")
            .message("must be between 1s and 1h")
    )]
    pub idle_timeout: Option<String>,
    /// How long a handshake may take. Default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('100ms') && duration(self) <= duration('5m')")
            .message("must be between 100ms and 5m")
    )]
    pub handshake_timeout: Option<String>,
    /// Bytes that a client may send on a connection before it is allowed more. Default 1048576.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16384, max = 4294967296_i64))]
    pub initial_max_data: Option<i64>,
    /// The same for each stream. Default 262144.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16384, max = 4294967296_i64))]
    pub initial_max_stream_data: Option<i64>,
    /// How far initialMaxData may grow for a client whose bytes are read fast. Default: eight
    /// times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16384, max = 4294967296_i64))]
    pub max_connection_window: Option<i64>,
    /// The same of initialMaxStreamData. Default: eight times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16384, max = 4294967296_i64))]
    pub max_stream_window: Option<i64>,
    /// Requests under way at once on a connection. Default 128.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub max_concurrent_streams: Option<i64>,
    /// Whether datagrams begin small and grow as far as the path carries them, rather than
    /// having maxUDPPayloadSize from the first. Default false.
    #[serde(
        default,
        rename = "pathMTUDiscovery",
        skip_serializing_if = "Option::is_none"
    )]
    pub path_mtu_discovery: Option<bool>,
    /// Largest UDP payload that is sent, in bytes. Default 1350, and with pathMTUDiscovery
    /// 1452.
    #[serde(
        default,
        rename = "maxUDPPayloadSize",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(range(min = 1200, max = 1452))]
    pub max_udp_payload_size: Option<i32>,
    /// Whether clients may move a connection to another address on purpose. One that a network
    /// moves, or that moves although it may not, is followed after path validation either way
    /// (RFC 9000 9). Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<bool>,
    /// Whether QUIC datagrams are offered (RFC 9221). Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datagrams: Option<bool>,
}
