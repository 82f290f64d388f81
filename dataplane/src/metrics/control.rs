//! What the control thread counts.

use super::cell::{Counter, Counters};

/// What became of a snapshot.
pub(super) const VERDICTS: [&str; 4] = ["acked", "nacked", "cached", "unchanged"];
/// What became of a command.
pub(super) const OUTCOMES: [&str; 5] = ["done", "not_found", "invalid", "busy", "other"];

/// Sessions to the control plane and what came through them.
#[derive(Debug, Default)]
pub struct ControlMetrics {
    pub(super) opened: Counter,
    pub(super) ended: Counter,
    pub(super) failed: Counter,
    pub(super) snapshots: Counters<4>,
    pub(super) endpoints: Counter,
    pub(super) commands: Counters<5>,
    pub(super) captures: Counter,
    pub(super) captures_lost: Counter,
}

impl ControlMetrics {
    /// A session was established.
    pub fn session_opened(&self) {
        self.opened.one();
    }

    /// An established session ended: once for each.
    pub fn session_ended(&self) {
        self.ended.one();
    }

    /// A control plane could not be reached.
    pub fn session_failed(&self) {
        self.failed.one();
    }

    /// A snapshot was dealt with: `acked`, `nacked`, `cached` (taken from the cache) or
    /// `unchanged` (in service already).
    pub fn snapshot(&self, verdict: &'static str) {
        self.snapshots.named(&VERDICTS, verdict).one();
    }

    /// The addresses of one backend were replaced.
    pub fn endpoints(&self) {
        self.endpoints.one();
    }

    /// A command was answered: `done`, `not_found`, `invalid` or `busy`.
    pub fn command(&self, outcome: &'static str) {
        self.commands.named(&OUTCOMES, outcome).one();
    }

    /// A capture was begun.
    pub fn capture_begun(&self) {
        self.captures.one();
    }

    /// A record of a capture was left out, because its reader is slow.
    pub fn capture_lost(&self) {
        self.captures_lost.one();
    }

    /// Records of captures that were left out.
    pub fn captures_lost(&self) -> u64 {
        self.captures_lost.value()
    }
}
