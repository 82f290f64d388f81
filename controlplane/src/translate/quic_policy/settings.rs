//! What a QUICPolicy says, in the dataplane's terms.

use tidegate_proto::v1;

use super::super::{
    Fault,
    duration::{self, HOUR, SECOND},
    parameters::{one_of, within},
};
use crate::policy::{Http3Policy, QUICPolicySpec, TransportPolicy};

/// A policy's settings. What it does not say is left as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Settings {
    http3: Option<bool>,
    advertised_port: u32,
    alt_svc_max_age_seconds: u32,
    transport: v1::QuicTransport,
    pacing: Option<bool>,
    path_mtu_discovery: Option<bool>,
    migration: Option<bool>,
    datagrams: Option<bool>,
    early_data: Option<bool>,
    /// For the whole port.
    pub(super) retry: Option<v1::RetryMode>,
}

impl Settings {
    /// Switches HTTP/3 on or off, and says what Alt-Svc does.
    pub(super) fn put_http3(&self, listener: &mut v1::Listener) {
        match self.http3 {
            Some(true) => {
                listener.http3.get_or_insert_default();
            }
            Some(false) => {
                listener.http3 = None;
                listener.quic = None;
            }
            None => {}
        }
        if let Some(http3) = &mut listener.http3 {
            set(&mut http3.advertised_port, self.advertised_port);
            set(
                &mut http3.alt_svc_max_age_seconds,
                self.alt_svc_max_age_seconds,
            );
        }
    }

    /// Everything but Retry.
    pub(super) fn put_transport(&self, quic: &mut v1::QuicTransport) {
        let own = &self.transport;
        set(&mut quic.max_idle_timeout_ms, own.max_idle_timeout_ms);
        set(&mut quic.handshake_timeout_ms, own.handshake_timeout_ms);
        set(&mut quic.initial_max_data, own.initial_max_data);
        set(
            &mut quic.initial_max_stream_data,
            own.initial_max_stream_data,
        );
        set(&mut quic.max_connection_window, own.max_connection_window);
        set(&mut quic.max_stream_window, own.max_stream_window);
        set(
            &mut quic.initial_max_streams_bidi,
            own.initial_max_streams_bidi,
        );
        set(
            &mut quic.max_send_udp_payload_size,
            own.max_send_udp_payload_size,
        );
        set(&mut quic.max_pacing_rate, own.max_pacing_rate);
        set(
            &mut quic.initial_congestion_window,
            own.initial_congestion_window,
        );
        if let Some(pacing) = self.pacing {
            quic.disable_pacing = !pacing;
        }
        if !own.congestion_control.is_empty() {
            quic.congestion_control.clone_from(&own.congestion_control);
        }
        if let Some(migration) = self.migration {
            quic.disable_active_migration = !migration;
        }
        quic.datagrams = self.datagrams.unwrap_or(quic.datagrams);
        quic.path_mtu_discovery = self.path_mtu_discovery.unwrap_or(quic.path_mtu_discovery);
        quic.early_data = self.early_data.unwrap_or(quic.early_data);
    }
}

/// A zero says nothing.
fn set<T: Default + PartialEq>(field: &mut T, value: T) {
    if value != T::default() {
        *field = value;
    }
}

/// Reads a policy. Files have no API server that would keep the kind's rules, so all of
/// them are here again.
pub(super) fn read(spec: &QUICPolicySpec) -> Result<Settings, Fault> {
    let settings = || {
        let mut settings = Settings {
            early_data: spec.early_data,
            ..Settings::default()
        };
        one_of(
            "retry",
            spec.retry.as_deref(),
            &["Adaptive", "Always", "Never"],
        )?;
        settings.retry = spec.retry.as_deref().map(|word| match word {
            "Always" => v1::RetryMode::Always,
            "Never" => v1::RetryMode::Never,
            _ => v1::RetryMode::Unspecified,
        });
        if let Some(http3) = &spec.http3 {
            read_http3(http3, &mut settings)?;
        }
        if let Some(transport) = &spec.transport {
            read_transport(transport, &mut settings)?;
        }
        Ok(settings)
    };
    settings().map_err(|problem: String| Fault::new("Invalid", format!("spec.{problem}")))
}

fn read_http3(http3: &Http3Policy, settings: &mut Settings) -> Result<(), String> {
    settings.http3 = http3.enabled;
    if http3.enabled == Some(false)
        && (http3.advertised_port.is_some() || http3.alt_svc_max_age.is_some())
    {
        return Err(
            "http3: advertisedPort and altSvcMaxAge are for HTTP/3; remove them, or enable it"
                .to_owned(),
        );
    }
    let port = number("http3.advertisedPort", http3.advertised_port, 1, 65_535)?;
    settings.advertised_port = u32::try_from(port).unwrap_or_default();
    let age = time(
        "http3.altSvcMaxAge",
        http3.alt_svc_max_age.as_deref(),
        SECOND,
        YEAR,
    )?;
    settings.alt_svc_max_age_seconds = u32::try_from(age / SECOND).unwrap_or_default();
    Ok(())
}

fn read_transport(transport: &TransportPolicy, settings: &mut Settings) -> Result<(), String> {
    let algorithm = transport.congestion_control.as_deref();
    one_of(
        "transport.congestionControl",
        algorithm,
        &["Cubic", "BBR2", "Reno"],
    )?;
    let data = number(
        "transport.initialMaxData",
        transport.initial_max_data,
        1 << 14,
        1 << 32,
    )?;
    let stream_data = number(
        "transport.initialMaxStreamData",
        transport.initial_max_stream_data,
        1 << 14,
        1 << 32,
    )?;
    if data > 0 && stream_data > data {
        return Err(
            "transport.initialMaxStreamData: must not be more than initialMaxData".to_owned(),
        );
    }
    let (low, high) = (1 << 14, 1 << 32);
    let window = transport.max_connection_window;
    let connection_window = number("transport.maxConnectionWindow", window, low, high)?;
    let window = transport.max_stream_window;
    let stream_window = number("transport.maxStreamWindow", window, low, high)?;
    for (field, most, initial, value) in [
        (
            "maxConnectionWindow",
            connection_window,
            "initialMaxData",
            data,
        ),
        (
            "maxStreamWindow",
            stream_window,
            "initialMaxStreamData",
            stream_data,
        ),
    ] {
        if most > 0 && value > most {
            return Err(format!(
                "transport.{field}: must not be less than {initial}"
            ));
        }
    }
    if transport.pacing == Some(false) && transport.max_pacing_rate.is_some() {
        return Err(
            "transport.maxPacingRate: needs pacing; remove it, or leave pacing on".to_owned(),
        );
    }
    let rate = transport.max_pacing_rate;
    let window = transport.initial_congestion_window;
    let streams = transport.max_concurrent_streams;
    let payload = transport.max_udp_payload_size;
    settings.transport = v1::QuicTransport {
        handshake_timeout_ms: time(
            "transport.handshakeTimeout",
            transport.handshake_timeout.as_deref(),
            100,
            300 * SECOND,
        )?,
        initial_max_data: data,
        initial_max_stream_data: stream_data,
        max_connection_window: connection_window,
        max_stream_window: stream_window,
        max_idle_timeout_ms: time(
            "transport.idleTimeout",
            transport.idle_timeout.as_deref(),
            SECOND,
            HOUR,
        )?,
        initial_max_streams_bidi: number("transport.maxConcurrentStreams", streams, 1, 65_535)?,
        max_pacing_rate: number("transport.maxPacingRate", rate, 125_000, 125_000_000_000)?,
        initial_congestion_window: number("transport.initialCongestionWindow", window, 2, 1_000)?
            .try_into()
            .unwrap_or_default(),
        congestion_control: algorithm.unwrap_or_default().to_ascii_lowercase(),
        max_send_udp_payload_size: number("transport.maxUDPPayloadSize", payload, 1200, 1452)?
            .try_into()
            .unwrap_or_default(),
        ..Default::default()
    };
    settings.pacing = transport.pacing;
    settings.path_mtu_discovery = transport.path_mtu_discovery;
    settings.migration = transport.migration;
    settings.datagrams = transport.datagrams;
    Ok(())
}

/// Zero: it is not said.
fn number(
    field: &str,
    value: Option<impl Into<i64>>,
    least: i64,
    most: i64,
) -> Result<u64, String> {
    let value = value.map(Into::into);
    within(field, value, least, most)?;
    Ok(value.unwrap_or_default().unsigned_abs())
}

/// Milliseconds. Zero: it is not said.
fn time(field: &str, value: Option<&str>, least: u64, most: u64) -> Result<u64, String> {
    let Some(text) = value else { return Ok(0) };
    duration::within(text, &(least..=most)).map_err(|problem| format!("{field}: {problem}"))
}

/// Milliseconds.
const YEAR: u64 = 8_760 * HOUR;
