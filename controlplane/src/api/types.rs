//! The REST API's JSON, type by type, with the words of the protocol.
//!
//! Each type mirrors a message of `tidegate.v1`: same field names, numbers as JSON
//! numbers, enums as lower-case words. They serialize and deserialize, so that the
//! command line reads what the server writes. Nothing here decides anything; `api`
//! converts at its edge, and the rest of the crate speaks the protocol's own types.

mod audit;
mod capture;
mod configuration;
mod connection;
mod fleet;
mod problem;
mod wire;

pub use audit::{AuditList, AuditRecord, Event, Lagged};
pub use capture::{CaptureKeyLog, CaptureNextQlog, CaptureQlog, QlogLevel};
pub use configuration::{
    Admission, Attachment, Backend, BackendProtocol, BackendRef, BackendTls, Certificate,
    Configuration, Endpoint, Endpoints, Filter, HeaderField, HeaderModifier, Http3, HttpLimits,
    Key, Keys, Listener, Match, PathMatch, PathModifier, Protocol, QuicTransport, Redirect,
    RetryMode, Route, Rule, Snapshot, UrlRewrite, ValueMatch,
};
pub use connection::{
    AuditStats, ClientCertificate, CloseBehaviour, CloseSelected, Closed, ClosedBy, Connection,
    ConnectionList, HandshakeInfo, PathChange, PathEvent, PathEventKind, Selector, SocketStats,
    StartupExit, StartupExitReason, TlsInfo,
};
pub use fleet::{
    Condition, Dataplane, DataplaneList, DataplaneState, DrainBody, Drained, Hello, KeysRotated,
    ListenerList, ListenerState, ListenerSummary, Nack, ObjectStatus, Rejection, StatusList,
};
pub use problem::Problem;
pub(crate) use wire::FromWire;

#[cfg(test)]
mod tests;
