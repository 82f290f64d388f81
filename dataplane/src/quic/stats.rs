//! Statistics of a connection: of this moment, and what only its end tells.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    time::{Duration, Instant},
};

use boring::{hash::MessageDigest, ssl::SslRef, x509::X509};
use tidegate_proto::v1;

use super::QuicheConnection;
use crate::tls::Terms;

/// The statistics of this moment. The path is the active one, also after a migration.
pub fn socket_stats(qconn: &QuicheConnection) -> v1::SocketStats {
    let stats = qconn.stats();
    let path = qconn.path_stats().find(|path| path.active);
    let micros = |duration: Duration| duration.as_micros() as i64;
    let mut socket = v1::SocketStats {
        packets_sent: stats.sent as u64,
        packets_recvd: stats.recv as u64,
        packets_lost: stats.lost as u64,
        packets_lost_spurious: stats.spurious_lost as u64,
        packets_retrans: stats.retrans as u64,
        bytes_sent: stats.sent_bytes,
        bytes_recvd: stats.recv_bytes,
        bytes_lost: stats.lost_bytes,
        bytes_retrans: stats.stream_retrans_bytes,
        bytes_in_flight_duration_us: stats.bytes_in_flight_duration.as_micros() as u64,
        key_updates: stats.key_update_count,
        ..Default::default()
    };
    if let Some(path) = path {
        socket.pmtu = path.pmtu as u32;
        socket.rtt_us = micros(path.rtt);
        socket.min_rtt_us = path.min_rtt.map_or(0, micros);
        socket.max_rtt_us = path.max_rtt.map_or(0, micros);
        socket.rtt_var_us = micros(path.rttvar);
        socket.cwnd = path.cwnd as u64;
        socket.total_pto_count = path.total_pto_count as u64;
        socket.delivery_rate = path.delivery_rate;
        socket.max_bandwidth = path.max_bandwidth;
        socket.startup_exit = path.startup_exit.map(startup_exit);
    }
    socket
}

/// How long an answer may take before a packet is taken for lost (RFC 9002 6.2.1), on the
/// active path or else the first.
pub(crate) fn probe_timeout(qconn: &QuicheConnection) -> Duration {
    let active = qconn.path_stats().find(|path| path.active);
    let path = active.or_else(|| qconn.path_stats().next());
    path.map_or(INITIAL_PROBE_TIMEOUT, |path| {
        path.rtt + (4 * path.rttvar).max(GRANULARITY) + MAX_ACK_DELAY
    })
}

/// Without a sample of the round trip (RFC 9002 6.2.2).
const INITIAL_PROBE_TIMEOUT: Duration = Duration::from_millis(999);
/// RFC 9002 6.1.2.
const GRANULARITY: Duration = Duration::from_millis(1);
/// Unless the client says otherwise (RFC 9000 18.2).
const MAX_ACK_DELAY: Duration = Duration::from_millis(25);

fn startup_exit(exit: quiche::StartupExit) -> v1::StartupExit {
    use quiche::StartupExitReason as Quiche;
    use v1::startup_exit::Reason;
    let reason = match exit.reason {
        Quiche::Loss => Reason::Loss,
        Quiche::BandwidthPlateau => Reason::BandwidthPlateau,
        Quiche::PersistentQueue => Reason::PersistentQueue,
        Quiche::ConservativeSlowStartRounds => Reason::ConservativeSlowStartRounds,
    };
    v1::StartupExit {
        reason: reason.into(),
        cwnd: exit.cwnd as u64,
        bandwidth: exit.bandwidth,
    }
}

/// Facts of an established TLS session.
pub(crate) fn tls_info(ssl: &SslRef, alpn: &[u8], resumed: bool, early_data: bool) -> v1::TlsInfo {
    v1::TlsInfo {
        server_name: ssl
            .servername(boring::ssl::NameType::HOST_NAME)
            .unwrap_or_default()
            .to_ascii_lowercase(),
        alpn: String::from_utf8_lossy(alpn).into_owned(),
        version: ssl.version_str().to_owned(),
        cipher: ssl
            .current_cipher()
            .map_or_else(String::new, |cipher| cipher.name().to_owned()),
        group: ssl.curve_name().unwrap_or_default().to_owned(),
        resumed,
        early_data,
        client_certificate: ssl
            .peer_certificate()
            .map(|certificate| client_certificate(ssl, &certificate)),
        ech_accepted: ssl.ech_accepted(),
    }
}

fn client_certificate(ssl: &SslRef, certificate: &X509) -> v1::ClientCertificate {
    let digest = certificate.digest(MessageDigest::sha256());
    let names = certificate.subject_alt_names();
    let names = names
        .iter()
        .flatten()
        .filter_map(|name| name.dnsname().or(name.uri()));
    v1::ClientCertificate {
        sha256: digest.map_or_else(|_| String::new(), |digest| hex(&digest)),
        subject: certificate
            .subject_name()
            .print_ex(RFC_2253)
            .unwrap_or_default(),
        subject_alt_names: names.take(MOST_NAMES).map(str::to_owned).collect(),
        verified: Terms::get(ssl).is_some_and(|terms| terms.verified),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |value| char::from_digit(value, 16).unwrap_or_default();
    let digits = |byte: &u8| [digit(u32::from(byte >> 4)), digit(u32::from(byte & 0xf))];
    let mut text = String::with_capacity(2 * bytes.len());
    text.extend(bytes.iter().flat_map(digits));
    text
}

/// An address in words, without growing on the way.
pub(crate) fn address(address: SocketAddr) -> String {
    let mut text = String::with_capacity(LONGEST_ADDRESS);
    write!(text, "{address}").expect("a string takes it");
    text
}

/// IPv6 with an IPv4 address, a zone and a port.
const LONGEST_ADDRESS: usize = 58;
/// `XN_FLAG_RFC2253`.
const RFC_2253: i32 = 0x0111_0317;
/// A client does not make the record grow.
const MOST_NAMES: usize = 16;

/// Adds the close frames of both sides to `audit`.
pub(crate) fn close_codes(qconn: &QuicheConnection, audit: &mut v1::AuditStats) {
    if let Some(error) = qconn.peer_error() {
        let code = Some(error.error_code);
        match error.is_app {
            true => audit.recvd_conn_close_application_error_code = code,
            false => audit.recvd_conn_close_transport_error_code = code,
        }
    }
    if let Some(error) = qconn.local_error() {
        let code = Some(error.error_code);
        match error.is_app {
            true => audit.sent_conn_close_application_error_code = code,
            false => audit.sent_conn_close_transport_error_code = code,
        }
    }
}

/// The largest sending rate of a connection and its largest loss, over windows of
/// [`WINDOW`].
#[derive(Debug)]
pub(crate) struct BandwidthReporter {
    window_start: Instant,
    at_start: Totals,
    /// Bits per second.
    pub(crate) max_bandwidth: u64,
    pub(crate) max_loss_pct: u32,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) acked_bytes: u64,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
}

impl From<quiche::Stats> for Totals {
    fn from(stats: quiche::Stats) -> Self {
        Self {
            acked_bytes: stats.acked_bytes,
            sent: stats.sent as u64,
            lost: stats.lost as u64,
        }
    }
}

impl BandwidthReporter {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            window_start: now,
            at_start: Totals::default(),
            max_bandwidth: 0,
            max_loss_pct: 0,
        }
    }

    /// Ends the window if it is time. `totals` is read only then.
    pub(crate) fn update(&mut self, now: Instant, totals: impl FnOnce() -> Totals) {
        let elapsed = now - self.window_start;
        if elapsed < WINDOW {
            return;
        }
        let totals = totals();
        let bits = (totals.acked_bytes - self.at_start.acked_bytes) * 8;
        let rate = u128::from(bits) * 1_000_000 / elapsed.as_micros();
        self.max_bandwidth = self
            .max_bandwidth
            .max(u64::try_from(rate).unwrap_or(u64::MAX));
        let sent = totals.sent - self.at_start.sent;
        if sent >= MIN_SENT {
            let lost = (totals.lost - self.at_start.lost).min(sent);
            self.max_loss_pct = self.max_loss_pct.max((lost * 100 / sent) as u32);
        }
        self.window_start = now;
        self.at_start = totals;
    }
}

const WINDOW: Duration = Duration::from_millis(100);
/// Below this a percentage of loss says nothing.
const MIN_SENT: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_window_is_kept() {
        let start = Instant::now();
        let mut reporter = BandwidthReporter::new(start);
        reporter.update(start + WINDOW / 2, || {
            unreachable!("the window is not over")
        });
        reporter.update(start + WINDOW, || Totals {
            acked_bytes: 125_000,
            sent: 100,
            lost: 20,
        });
        assert_eq!(
            (reporter.max_bandwidth, reporter.max_loss_pct),
            (10_000_000, 20)
        );
        reporter.update(start + 2 * WINDOW, || Totals {
            acked_bytes: 126_000,
            sent: 105,
            lost: 25,
        });
        assert_eq!(
            (reporter.max_bandwidth, reporter.max_loss_pct),
            (10_000_000, 20)
        );
    }
}
