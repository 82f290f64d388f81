//! Ended connections and the stream of events.

use serde::{Deserialize, Serialize};
use tidegate_proto::v1;
use utoipa::ToSchema;

use super::{Connection, wire::mirror};

mirror! {
    /// A page of audit records.
    AuditList = v1::ListAuditResponse {
        /// Newest first.
        records: Vec<AuditRecord>,
        /// `before` of the next page; 0 at the end.
        next: u64,
        /// Records that match, over all pages.
        total: u64,
    }

    /// The end of one connection. Each connection has exactly one.
    AuditRecord = v1::AuditRecord {
        /// Grows with time of arrival.
        id: u64,
        /// UNIX milliseconds.
        received_at_ms: i64,
        /// The connection as it was when it ended.
        connection: Option<Connection>,
    }

    /// A handshake or a close. As a server-sent event, `kind` is the event's name and
    /// the connection alone its data.
    Event = v1::Event {
        /// `established` or `closed`.
        kind: String,
        /// The connection then.
        connection: Option<Connection>,
    }
}

/// Data of the server-sent event `lagged`: this client read too slowly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lagged {
    /// Events that it was not sent.
    pub lost: u64,
}
