//! QUIC transport settings of a listener, with their defaults.

use std::{fmt, str::FromStr, time::Duration};

use tidegate_proto::v1;

use super::{
    limits::{bounded, milliseconds},
    problems::Object,
};

/// The largest integer that a transport parameter can carry (RFC 9000 16).
pub const MAX_VARINT: u64 = (1 << 62) - 1;
/// The largest stream count (RFC 9000 4.6).
const MAX_STREAMS: u64 = 1 << 60;
/// What fits an Ethernet frame over IPv6.
const MAX_UDP_PAYLOAD: u64 = 1_452;
const MAX_INITIAL_WINDOW: u64 = 1_000;
/// How far quiche may grow the flow control windows of a fast reader.
const MAX_WINDOWS: u64 = 8;
/// One megabit: at less, a packet would wait longer than an acknowledgment may.
const MIN_PACING_RATE: u64 = 125_000;

/// RFC 9000 transport parameters and recovery settings, defaults resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuicTransport {
    pub max_idle_timeout: Duration,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// Bytes.
    pub initial_max_data: u64,
    /// Bytes, for each kind of stream.
    pub initial_max_stream_data: u64,
    /// Bytes that `initial_max_data` may grow to for a fast reader.
    pub max_connection_window: u64,
    /// The same of `initial_max_stream_data`.
    pub max_stream_window: u64,
    pub initial_max_streams_bidi: u64,
    pub congestion_control: CongestionControl,
    /// Packets.
    pub initial_congestion_window: usize,
    /// Windows are spread over the round trip (RFC 9002 7.7).
    pub pacing: bool,
    /// Bytes per second.
    pub max_pacing_rate: Option<u64>,
    /// Whether clients may change their address on purpose.
    pub active_migration: bool,
    pub retry: RetryMode,
    /// Bytes.
    pub max_send_udp_payload_size: usize,
    /// Datagrams grow as far as the path carries them (RFC 8899).
    pub path_mtu_discovery: bool,
    /// QUIC datagrams (RFC 9221) are offered.
    pub datagrams: bool,
    /// Requests with safe methods are served in 0-RTT packets.
    pub early_data: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CongestionControl {
    #[default]
    Cubic,
    Bbr2,
    Reno,
}

/// When a client has to prove its address first (RFC 9000 8.1.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RetryMode {
    /// While many handshakes are half open.
    #[default]
    Adaptive,
    Always,
    Never,
}

impl Default for QuicTransport {
    fn default() -> Self {
        Self {
            max_idle_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            initial_max_data: 1024 * 1024,
            initial_max_stream_data: 256 * 1024,
            max_connection_window: 8 * 1024 * 1024,
            max_stream_window: 2 * 1024 * 1024,
            initial_max_streams_bidi: 128,
            congestion_control: CongestionControl::Cubic,
            initial_congestion_window: 10,
            pacing: true,
            max_pacing_rate: None,
            active_migration: true,
            retry: RetryMode::Adaptive,
            max_send_udp_payload_size: 1350,
            path_mtu_discovery: false,
            datagrams: false,
            early_data: false,
        }
    }
}

impl QuicTransport {
    /// What connections for a listener with these settings get on a port with those of
    /// `port`: a Retry comes before it is known which listener a client means.
    #[must_use]
    pub fn on(&self, port: &Self) -> Self {
        Self {
            retry: port.retry,
            ..self.clone()
        }
    }
}

impl CongestionControl {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Bbr2 => "bbr2",
            Self::Reno => "reno",
        }
    }
}

impl fmt::Display for CongestionControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CongestionControl {
    type Err = String;

    /// Empty is the default.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Ok(Self::default()),
            "cubic" => Ok(Self::Cubic),
            "bbr2" => Ok(Self::Bbr2),
            "reno" => Ok(Self::Reno),
            _ => Err(format!(
                "`{text}` is none that is known; use cubic, bbr2 or reno"
            )),
        }
    }
}

pub(super) fn parse(wire: &v1::QuicTransport, object: &mut Object<'_>) -> Option<QuicTransport> {
    let default = QuicTransport::default();
    let idle = milliseconds(
        object,
        "quic.max_idle_timeout_ms",
        wire.max_idle_timeout_ms,
        default.max_idle_timeout,
    );
    let handshake = milliseconds(
        object,
        "quic.handshake_timeout_ms",
        wire.handshake_timeout_ms,
        default.handshake_timeout,
    );
    let retry = match v1::RetryMode::try_from(wire.retry) {
        Ok(v1::RetryMode::Unspecified) => Ok(RetryMode::Adaptive),
        Ok(v1::RetryMode::Always) => Ok(RetryMode::Always),
        Ok(v1::RetryMode::Never) => Ok(RetryMode::Never),
        Err(_) => Err(format!(
            "{} is none that is known; use always or never, or leave it out",
            wire.retry
        )),
    };
    let mut number = |field: &str, value, default, range| {
        bounded(object, &format!("quic.{field}"), value, default, range)
    };
    let mut window = |initial: (&str, u64, u64), max: (&str, u64)| {
        let (field, value, default) = initial;
        // What is said to be the most makes the default smaller.
        let default = match max.1 {
            0 => default,
            most => default.min(most),
        };
        let initial = number(field, value, default, 1..=MAX_VARINT)?;
        let default = initial.saturating_mul(MAX_WINDOWS).min(MAX_VARINT);
        Some((
            initial,
            number(max.0, max.1, default, initial..=MAX_VARINT)?,
        ))
    };
    let data = window(
        (
            "initial_max_data",
            wire.initial_max_data,
            default.initial_max_data,
        ),
        ("max_connection_window", wire.max_connection_window),
    );
    let stream_data = window(
        (
            "initial_max_stream_data",
            wire.initial_max_stream_data,
            default.initial_max_stream_data,
        ),
        ("max_stream_window", wire.max_stream_window),
    );
    let streams = number(
        "initial_max_streams_bidi",
        wire.initial_max_streams_bidi,
        default.initial_max_streams_bidi,
        1..=MAX_STREAMS,
    );
    let payload = number(
        "max_send_udp_payload_size",
        wire.max_send_udp_payload_size.into(),
        match wire.path_mtu_discovery {
            true => MAX_UDP_PAYLOAD,
            false => default.max_send_udp_payload_size as u64,
        },
        1200..=MAX_UDP_PAYLOAD,
    );
    let initial_window = number(
        "initial_congestion_window",
        wire.initial_congestion_window.into(),
        default.initial_congestion_window as u64,
        // RFC 9002 7.2 recommends 10; what is known of a path may speak for more.
        2..=MAX_INITIAL_WINDOW,
    );
    let rate = match wire.max_pacing_rate {
        0 => Some(None),
        rate => number("max_pacing_rate", rate, rate, MIN_PACING_RATE..=u64::MAX).map(Some),
    };
    let retry = object.accept("quic.retry", retry);
    let congestion = object.accept("quic.congestion_control", wire.congestion_control.parse());
    let (initial_max_data, max_connection_window) = data?;
    let (initial_max_stream_data, max_stream_window) = stream_data?;
    Some(QuicTransport {
        max_idle_timeout: idle?,
        handshake_timeout: handshake?,
        initial_max_data,
        initial_max_stream_data,
        max_connection_window,
        max_stream_window,
        initial_max_streams_bidi: streams?,
        congestion_control: congestion?,
        initial_congestion_window: usize::try_from(initial_window?).ok()?,
        pacing: !wire.disable_pacing,
        max_pacing_rate: rate?,
        active_migration: !wire.disable_active_migration,
        retry: retry?,
        max_send_udp_payload_size: usize::try_from(payload?).ok()?,
        path_mtu_discovery: wire.path_mtu_discovery,
        datagrams: wire.datagrams,
        early_data: wire.early_data,
    })
}
