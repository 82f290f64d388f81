//! Facts about a handshake, and how one fails.

use std::{
    io,
    time::{Duration, Instant},
};

use tidegate_proto::v1;

/// When a handshake began, how long it may take and how long it took.
#[derive(Clone, Debug)]
pub struct HandshakeInfo {
    start_time: Instant,
    timeout: Option<Duration>,
    queued: Duration,
    elapsed: Option<Duration>,
    retry: bool,
}

impl HandshakeInfo {
    pub(crate) fn new(
        start_time: Instant,
        timeout: Option<Duration>,
        queued: Duration,
        retry: bool,
    ) -> Self {
        Self {
            start_time,
            timeout,
            queued,
            elapsed: None,
            retry,
        }
    }

    /// When the connection was created, and had its turn.
    pub fn start_time(&self) -> Instant {
        self.start_time
    }

    /// How long the client's first packets lay in the socket and in queues before that.
    pub fn queued(&self) -> Duration {
        self.queued
    }

    /// How long the handshake took; zero while it is not complete.
    pub fn elapsed(&self) -> Duration {
        self.elapsed.unwrap_or_default()
    }

    /// When it must be complete, if there is a limit.
    pub fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|timeout| self.start_time + timeout)
    }

    /// Whether that time has passed at `now` without completion.
    pub fn is_expired(&self, now: Instant) -> bool {
        self.elapsed.is_none() && self.deadline().is_some_and(|deadline| now >= deadline)
    }

    /// Whether the client's address was validated by a Retry.
    pub fn retry(&self) -> bool {
        self.retry
    }

    /// Which listener it is for is known now, and how long that lets it take.
    pub(crate) fn limit(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    /// The first packet waited from `since` on for its turn. Only now it begins.
    pub(crate) fn waited(&mut self, since: Instant, now: Instant) {
        self.queued += now - since;
        self.start_time += now - since;
    }

    pub(crate) fn complete(&mut self, now: Instant) {
        self.elapsed = Some(now - self.start_time);
    }

    pub(crate) fn to_proto(&self) -> v1::HandshakeInfo {
        v1::HandshakeInfo {
            queued_us: self.queued.as_micros() as u64,
            elapsed_us: self.elapsed().as_micros() as u64,
            timeout_ms: self.timeout.map_or(0, |timeout| timeout.as_millis() as u64),
            retry: self.retry,
        }
    }
}

/// Why a handshake ended without a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Its deadline passed.
    #[error("the handshake did not complete in time")]
    Timeout,
    /// The shard had no time for it.
    #[error("too many handshakes wait for their turn")]
    Overloaded,
    /// The connection was closed first, by either side.
    #[error("the connection was closed during its handshake")]
    ConnectionClosed,
}

impl From<HandshakeError> for io::Error {
    fn from(error: HandshakeError) -> Self {
        let kind = match error {
            HandshakeError::Timeout | HandshakeError::Overloaded => io::ErrorKind::TimedOut,
            HandshakeError::ConnectionClosed => io::ErrorKind::NotConnected,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_expires_at_its_deadline_unless_it_is_complete() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut info = HandshakeInfo::new(start, Some(second), Duration::ZERO, false);
        assert!(!info.is_expired(start) && info.is_expired(start + second));
        info.complete(start + second / 2);
        assert!(!info.is_expired(start + second));
        assert_eq!(info.elapsed(), second / 2);
        let mut waited = HandshakeInfo::new(start, Some(second), second, false);
        waited.waited(start + second / 4, start + second);
        assert_eq!(waited.queued(), second * 7 / 4);
        assert!(!waited.is_expired(start + second) && waited.is_expired(start + 2 * second));
        waited.limit(second / 2);
        assert!(waited.is_expired(start + second * 3 / 2));
        let unlimited = HandshakeInfo::new(start, None, Duration::ZERO, false);
        assert!(!unlimited.is_expired(start + 1_000_000 * second));
    }

    #[test]
    fn errors_have_the_kind_that_io_callers_expect() {
        assert_eq!(
            io::Error::from(HandshakeError::Timeout).kind(),
            io::ErrorKind::TimedOut
        );
        let closed = io::Error::from(HandshakeError::ConnectionClosed);
        assert_eq!(closed.kind(), io::ErrorKind::NotConnected);
    }
}
