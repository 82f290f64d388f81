//! The effective configuration, without a secret in it.
//!
//! `Key` has no material and `Certificate` no private key: what is not in the type
//! cannot be shown.

use serde::{Deserialize, Serialize};
use tidegate_proto::v1;
use utoipa::ToSchema;

use super::wire::{FromWire, mirror, mirror_enum};

mirror! {
    /// What a dataplane is told to serve.
    Configuration = v1::GetConfigResponse {
        /// Listeners, routes, backends.
        snapshot: Option<Snapshot>,
        /// Addresses of the backends.
        endpoints: Vec<Endpoints>,
    }

    /// The configuration of one dataplane.
    Snapshot = v1::Snapshot {
        /// SHA-256 of the content, hex.
        version: String,
        /// What is listened on.
        listeners: Vec<Listener>,
        /// Certificates, without their private keys.
        certificates: Vec<Certificate>,
        /// Routes.
        routes: Vec<Route>,
        /// Backends that routes name.
        backends: Vec<Backend>,
        /// Which shared keys are in use, without the keys.
        keys: Option<Keys>,
    }

    /// One listener of a Gateway.
    Listener = v1::Listener {
        /// `namespace/gateway/listener`.
        id: String,
        /// IP addresses to bind. Empty: every address.
        addresses: Vec<String>,
        /// TCP port, and UDP port where HTTP/3 is on.
        port: u32,
        /// What is spoken.
        protocol: Protocol,
        /// Host name that requests must have: exact, `*.suffix`, or empty for any.
        hostname: String,
        /// Certificates by id, in order of preference.
        certificate_ids: Vec<String>,
        /// Absent: HTTP/3 is off.
        http3: Option<Http3>,
        /// Absent: the defaults.
        quic: Option<QuicTransport>,
        /// Absent: everyone may connect.
        admission: Option<Admission>,
        /// Absent: the defaults.
        limits: Option<HttpLimits>,
        /// Absent: clients are not asked for certificates.
        client_validation: Option<ClientValidation>,
        /// Certificate that backends are shown, by id. Empty: none.
        backend_certificate_id: String,
        /// Keys for encrypted ClientHellos, without the private ones.
        ech_keys: Vec<EchKey>,
    }

    /// A key for encrypted ClientHellos. The private key is left out.
    EchKey = v1::EchKey {
        /// Clients that come with an unknown one are told it.
        offered: bool,
    }

    /// Certificates that clients must show.
    ClientValidation = v1::ClientValidation {
        /// CA certificates, PEM.
        ca_pem: String,
        /// What becomes of clients without a valid one.
        mode: ClientValidationMode,
    }

    /// HTTP/3 of a listener.
    Http3 = v1::Http3 {
        /// UDP port that clients see. 0: the listener's own.
        advertised_port: u32,
        /// `ma` of Alt-Svc, seconds. 0: 86400.
        alt_svc_max_age_seconds: u32,
    }

    /// QUIC transport settings. A zero is the default.
    QuicTransport = v1::QuicTransport {
        /// Milliseconds.
        max_idle_timeout_ms: u64,
        /// Milliseconds.
        handshake_timeout_ms: u64,
        /// Bytes.
        initial_max_data: u64,
        /// Bytes.
        initial_max_stream_data: u64,
        /// Streams.
        initial_max_streams_bidi: u64,
        /// `cubic`, `bbr2` or `reno`.
        congestion_control: String,
        /// Clients may not change their address.
        disable_active_migration: bool,
        /// When addresses are validated with a Retry.
        retry: RetryMode,
        /// Bytes.
        max_send_udp_payload_size: u32,
        /// 0-RTT is on.
        early_data: bool,
        /// QUIC datagrams are offered.
        datagrams: bool,
        /// A window of packets leaves at once.
        disable_pacing: bool,
        /// Bytes per second. 0: any number.
        max_pacing_rate: u64,
        /// Packets.
        initial_congestion_window: u32,
        /// Bytes.
        max_connection_window: u64,
        /// Bytes.
        max_stream_window: u64,
        /// The path MTU is discovered.
        path_mtu_discovery: bool,
    }

    /// Who may connect.
    Admission = v1::Admission {
        /// CIDR ranges. Empty: every address.
        allow: Vec<String>,
        /// CIDR ranges; wins over `allow`.
        deny: Vec<String>,
        /// Application error code sent on refusal. 0: H3_REQUEST_REJECTED (0x10b).
        error_code: u64,
    }

    /// Limits of requests. A zero is the default.
    HttpLimits = v1::HttpLimits {
        /// Milliseconds.
        header_timeout_ms: u64,
        /// Milliseconds.
        body_idle_timeout_ms: u64,
        /// Bytes.
        max_field_section_size: u64,
        /// Fields.
        max_fields: u32,
        /// Milliseconds.
        connection_idle_timeout_ms: u64,
        /// Milliseconds, over TCP.
        tls_handshake_timeout_ms: u64,
    }

    /// A certificate. Its private key is left out.
    Certificate = v1::Certificate {
        /// `namespace/secret`.
        id: String,
        /// The chain, leaf first, PEM.
        chain_pem: String,
    }

    /// The shared keys: of each kind first the one in use, then the next one, then those before.
    Keys = v1::Keys {
        /// Session tickets.
        ticket: Vec<Key>,
        /// Retry tokens.
        retry: Vec<Key>,
        /// Stateless reset tokens.
        reset: Vec<Key>,
        /// Connection IDs.
        cid: Vec<Key>,
        /// What dataplanes of a Gateway relay to each other.
        relay: Vec<Key>,
    }

    /// A shared key. The key itself is left out.
    Key = v1::Key {
        /// Names it in what it protects.
        id: u32,
    }

    /// A route with the listeners that it serves.
    Route = v1::Route {
        /// `Kind/namespace/name`.
        id: String,
        /// UNIX seconds.
        created_at_seconds: i64,
        /// Listeners and host names.
        attachments: Vec<Attachment>,
        /// In order.
        rules: Vec<Rule>,
    }

    /// A listener that a route serves.
    Attachment = v1::Attachment {
        /// `namespace/gateway/listener`.
        listener_id: String,
        /// Exact, `*.suffix`, or `*` for any.
        hostnames: Vec<String>,
    }

    /// A rule of a route.
    Rule = v1::Rule {
        /// May be empty.
        name: String,
        /// Any one suffices. Empty: everything.
        matches: Vec<Match>,
        /// In this order.
        filters: Vec<Filter>,
        /// Weighted.
        backends: Vec<BackendRef>,
        /// Milliseconds for the whole request. 0: off.
        request_timeout_ms: Option<u64>,
        /// Milliseconds for one attempt at a backend. 0: off.
        backend_request_timeout_ms: Option<u64>,
        /// Absent: what fails is not tried again.
        retry: Option<Retry>,
    }

    /// What a request must be.
    Match = v1::Match {
        /// Absent: any.
        path: Option<PathMatch>,
        /// All must hold.
        headers: Vec<ValueMatch>,
        /// All must hold.
        query: Vec<ValueMatch>,
        /// Empty: any.
        method: String,
    }

    /// Fields to change.
    HeaderModifier = v1::HeaderModifier {
        /// Replaces what is there.
        set: Vec<HeaderField>,
        /// Is added to what is there.
        add: Vec<HeaderField>,
        /// Names to take away.
        remove: Vec<String>,
    }

    /// A field.
    HeaderField = v1::HeaderField {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    }

    /// An answer that sends the client elsewhere.
    Redirect = v1::Redirect {
        /// Empty: the request's.
        scheme: String,
        /// Empty: the request's.
        hostname: String,
        /// Absent: the request's.
        path: Option<PathModifier>,
        /// 0: as the Gateway API derives it.
        port: u32,
        /// 0: 302.
        status: u32,
    }

    /// A change of what the backend sees.
    UrlRewrite = v1::UrlRewrite {
        /// Empty: unchanged.
        hostname: String,
        /// Absent: unchanged.
        path: Option<PathModifier>,
    }

    /// A copy of the request, whose response is dropped.
    Mirror = v1::Mirror {
        /// Empty: does not resolve; nothing is sent.
        backend_id: String,
        /// Share of the requests: numerator / denominator.
        numerator: u32,
        /// 0: all requests.
        denominator: u32,
    }

    /// The CORS protocol.
    Cors = v1::Cors {
        /// `*`, an origin, or one whose host begins with `*.`.
        allow_origins: Vec<String>,
        /// Requests may carry credentials.
        allow_credentials: bool,
        /// `*`, or methods.
        allow_methods: Vec<String>,
        /// `*`, or header names.
        allow_headers: Vec<String>,
        /// `*`, or header names.
        expose_headers: Vec<String>,
        /// Seconds. 0: 5.
        max_age_seconds: u32,
    }

    /// When a request is sent again.
    Retry = v1::Retry {
        /// Response statuses to try again after.
        codes: Vec<u32>,
        /// Further attempts after the first.
        attempts: u32,
        /// Milliseconds. 0: 25.
        backoff_ms: u64,
    }

    /// A share of the requests.
    BackendRef = v1::BackendRef {
        /// Empty: does not resolve; its share gets 500.
        backend_id: String,
        /// 0 to 1000000.
        weight: u32,
        /// In this order.
        filters: Vec<Filter>,
    }

    /// Where requests go.
    Backend = v1::Backend {
        /// `namespace/service:port`.
        id: String,
        /// What is spoken to it.
        protocol: BackendProtocol,
        /// Absent: cleartext.
        tls: Option<BackendTls>,
        /// Milliseconds. 0: 5000.
        connect_timeout_ms: u64,
    }

    /// TLS to a backend.
    BackendTls = v1::BackendTls {
        /// Sent as SNI; the name that its certificate must have, unless others are given.
        server_name: String,
        /// CA certificates, PEM. Empty: the system's.
        ca_pem: String,
        /// Names of which its certificate must have one.
        subject_alt_names: Vec<SubjectAltName>,
    }

    /// The addresses of one backend.
    Endpoints = v1::Endpoints {
        /// `namespace/service:port`.
        backend_id: String,
        /// Its addresses.
        endpoints: Vec<Endpoint>,
    }

    /// One address of a backend.
    Endpoint = v1::Endpoint {
        /// IP address.
        address: String,
        /// Port.
        port: u32,
    }
}

mirror_enum! {
    /// What a listener speaks.
    Protocol = v1::Protocol {
        Unspecified,
        /// Cleartext HTTP/1.1 and HTTP/2.
        Http,
        /// HTTP/1.1 and HTTP/2 over TLS, and HTTP/3 where it is on.
        Https,
    }

    /// What becomes of clients without a valid certificate.
    ClientValidationMode = v1::client_validation::Mode {
        Unspecified,
        /// They are let in.
        AllowInsecureFallback,
    }

    /// When addresses are validated with a Retry.
    RetryMode = v1::RetryMode {
        Unspecified,
        /// For every new connection.
        Always,
        /// For none.
        Never,
    }

    /// What is spoken to a backend.
    BackendProtocol = v1::BackendProtocol {
        Unspecified,
        /// HTTP/1.1.
        Http1,
        /// HTTP/2.
        Http2,
    }
}

/// How a path is compared: an object with one field, `exact`, `prefix` or `regex`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole path elements.
    Prefix(String),
    /// RE2 syntax, the whole path.
    Regex(String),
}

impl FromWire<v1::PathMatch> for PathMatch {
    fn from_wire(wire: v1::PathMatch) -> Self {
        use v1::path_match::Kind;
        match wire.kind {
            Some(Kind::Exact(path)) => Self::Exact(path),
            Some(Kind::Prefix(path)) => Self::Prefix(path),
            Some(Kind::Regex(pattern)) => Self::Regex(pattern),
            None => Self::Prefix("/".into()),
        }
    }
}

/// How a header or a query parameter is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ValueMatch {
    /// Name of the header or the parameter.
    pub name: String,
    /// The whole value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// RE2 syntax, the whole value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
}

impl FromWire<v1::ValueMatch> for ValueMatch {
    fn from_wire(wire: v1::ValueMatch) -> Self {
        use v1::value_match::Kind;
        let (exact, regex) = match wire.kind {
            Some(Kind::Exact(value)) => (Some(value), None),
            Some(Kind::Regex(pattern)) => (None, Some(pattern)),
            None => (None, None),
        };
        Self {
            name: wire.name,
            exact,
            regex,
        }
    }
}

/// What is done to a request or its response: an object with one field. `none` is a
/// filter of a newer protocol.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Not known to this build.
    #[default]
    None,
    /// Changes fields of the request.
    RequestHeaders(HeaderModifier),
    /// Changes fields of the response.
    ResponseHeaders(HeaderModifier),
    /// Sends the client elsewhere.
    Redirect(Redirect),
    /// Changes what the backend sees.
    Rewrite(UrlRewrite),
    /// Sends a copy elsewhere.
    Mirror(Mirror),
    /// Answers preflights, and tells browsers who may read responses.
    Cors(Cors),
}

impl FromWire<v1::Filter> for Filter {
    fn from_wire(wire: v1::Filter) -> Self {
        use v1::filter::Kind;
        match wire.kind {
            Some(Kind::RequestHeaders(change)) => Self::RequestHeaders(FromWire::from_wire(change)),
            Some(Kind::ResponseHeaders(change)) => {
                Self::ResponseHeaders(FromWire::from_wire(change))
            }
            Some(Kind::Redirect(redirect)) => Self::Redirect(FromWire::from_wire(redirect)),
            Some(Kind::Rewrite(rewrite)) => Self::Rewrite(FromWire::from_wire(rewrite)),
            Some(Kind::Mirror(mirror)) => Self::Mirror(FromWire::from_wire(mirror)),
            Some(Kind::Cors(cors)) => Self::Cors(FromWire::from_wire(cors)),
            None => Self::None,
        }
    }
}

/// A name in a certificate: an object with one field. `none` is of a newer protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubjectAltName {
    /// Not known to this build.
    #[default]
    None,
    /// Host name.
    Dns(String),
    /// URI.
    Uri(String),
}

impl FromWire<v1::SubjectAltName> for SubjectAltName {
    fn from_wire(wire: v1::SubjectAltName) -> Self {
        use v1::subject_alt_name::Kind;
        match wire.kind {
            Some(Kind::Dns(name)) => Self::Dns(name),
            Some(Kind::Uri(uri)) => Self::Uri(uri),
            None => Self::None,
        }
    }
}

/// How a path is changed: an object with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathModifier {
    /// The whole path.
    ReplaceFull(String),
    /// The prefix that matched.
    ReplacePrefix(String),
}

impl FromWire<Option<v1::PathModifier>> for Option<PathModifier> {
    fn from_wire(wire: Option<v1::PathModifier>) -> Self {
        use v1::path_modifier::Kind;
        Some(match wire?.kind? {
            Kind::ReplaceFull(path) => PathModifier::ReplaceFull(path),
            Kind::ReplacePrefix(path) => PathModifier::ReplacePrefix(path),
        })
    }
}
