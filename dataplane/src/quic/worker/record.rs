//! The audit record of a connection that has ended.

use tidegate_proto::v1::{self, ClosedBy};

use super::{Core, paths};
use crate::quic::{
    QuicheConnection,
    metrics::{Layer, Side},
    shared::Shared,
    stats,
};

impl Core {
    /// Completes the audit record and hands it out, once.
    pub(super) fn record(&mut self) {
        self.recorded = true;
        let shared = &self.shared;
        let by = {
            let mut qconn = shared.qconn.borrow_mut();
            while let Some(event) = qconn.path_event_next() {
                paths::note(shared, &event);
            }
            paths::unresolved(shared);
            let mut audit = shared.audit.borrow_mut();
            stats::close_codes(&qconn, &mut audit);
            let by = closed_by(shared, &qconn);
            audit.set_closed_by(by);
            audit.connection_close_reason = close_reason(&qconn, by);
            audit.max_bandwidth_bps = self.bandwidth.max_bandwidth;
            audit.max_loss_pct = self.bandwidth.max_loss_pct;
            by
        };
        shared.closed_by.set(Some(by));
        shared.enter_closing();
        let mut record = shared.facts();
        record.stage = "closed".to_owned();
        if self.unread {
            // It would let anybody fill the audit history.
            shared.endpoint.host.metrics().connection_closed(by, 0, 0);
            return;
        }
        count(shared, &record, by);
        shared.endpoint.host.closed(shared.handle, record);
    }
}

fn closed_by(shared: &Shared, qconn: &QuicheConnection) -> ClosedBy {
    let decided = shared.closed_by.get();
    if qconn.local_error().is_none() && decided != Some(ClosedBy::Abort) {
        if qconn.peer_error().is_some() {
            return ClosedBy::Peer;
        }
        if qconn.is_timed_out() {
            return match qconn.is_established() {
                true => ClosedBy::IdleTimeout,
                false => ClosedBy::HandshakeTimeout,
            };
        }
    }
    decided.unwrap_or(match qconn.local_error() {
        Some(_) => ClosedBy::Local,
        // A stateless reset leaves no error.
        None => ClosedBy::Peer,
    })
}

fn close_reason(qconn: &QuicheConnection, by: ClosedBy) -> String {
    let error = qconn.local_error().or(qconn.peer_error());
    match error.map(|error| String::from_utf8_lossy(&error.reason)) {
        Some(reason) if !reason.is_empty() => reason.into_owned(),
        _ => match by {
            ClosedBy::IdleTimeout => "idle timeout".to_owned(),
            ClosedBy::HandshakeTimeout => "handshake timeout".to_owned(),
            ClosedBy::Abort => "aborted".to_owned(),
            ClosedBy::AeadLimit => "AEAD limit".to_owned(),
            _ => String::new(),
        },
    }
}

fn count(shared: &Shared, record: &v1::Connection, by: ClosedBy) {
    let metrics = shared.endpoint.host.metrics();
    let Some(audit) = &record.audit else { return };
    metrics.connection_closed(by, audit.max_bandwidth_bps, audit.max_loss_pct);
    for (side, layer, code) in [
        (
            Side::Peer,
            Layer::Transport,
            audit.recvd_conn_close_transport_error_code,
        ),
        (
            Side::Local,
            Layer::Transport,
            audit.sent_conn_close_transport_error_code,
        ),
        (
            Side::Peer,
            Layer::Application,
            audit.recvd_conn_close_application_error_code,
        ),
        (
            Side::Local,
            Layer::Application,
            audit.sent_conn_close_application_error_code,
        ),
    ] {
        if let Some(code) = code {
            metrics.close_frame(side, layer, code);
        }
    }
}
