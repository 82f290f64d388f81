//! What can go wrong in the admin API, once for REST and gRPC.

use std::fmt;

use http::StatusCode;
use tidegate_proto::v1::{self, command_error::Code};
use tonic::Status;
use tracing::error;

use super::types::Problem;
use crate::{fleet::CommandFailure, keys::KeyError, selector::InvalidSelector, store::StoreError};

/// An operation that was not carried out, with the reason for its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request makes no sense.
    Invalid(String),
    /// What it names is not there.
    NotFound(String),
    /// A dataplane has too much to do.
    Busy(String),
    /// A dataplane did not answer. What it did is unknown.
    Timeout(String),
    /// The answer of a dataplane makes no sense.
    BadReply(String),
    /// Something of the control plane itself failed. Details are in its log.
    Internal(String),
}

impl Failure {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::BadReply(_) => StatusCode::BAD_GATEWAY,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn detail(&self) -> &str {
        let (Self::Invalid(detail)
        | Self::NotFound(detail)
        | Self::Busy(detail)
        | Self::Timeout(detail)
        | Self::BadReply(detail)
        | Self::Internal(detail)) = self;
        detail
    }

    pub(crate) fn problem(&self) -> Problem {
        problem(self.status(), self.detail())
    }
}

/// A problem of any status.
pub(crate) fn problem(status: StatusCode, detail: impl Into<String>) -> Problem {
    Problem {
        kind: "about:blank".into(),
        title: status.canonical_reason().unwrap_or("Error").into(),
        status: status.as_u16(),
        detail: detail.into(),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let detail = failure.detail().to_owned();
        match failure {
            Failure::Invalid(_) => Self::invalid_argument(detail),
            Failure::NotFound(_) => Self::not_found(detail),
            Failure::Busy(_) => Self::resource_exhausted(detail),
            Failure::Timeout(_) => Self::deadline_exceeded(detail),
            Failure::BadReply(_) | Failure::Internal(_) => Self::internal(detail),
        }
    }
}

impl From<CommandFailure> for Failure {
    fn from(failure: CommandFailure) -> Self {
        let detail = failure.to_string();
        match failure {
            CommandFailure::UnknownDataplane(_) => Self::NotFound(detail),
            CommandFailure::Busy(_) => Self::Busy(detail),
            CommandFailure::Timeout(_) | CommandFailure::Disconnected(_) => Self::Timeout(detail),
            CommandFailure::Refused(v1::CommandError { code, .. }) => match Code::try_from(code) {
                Ok(Code::NotFound) => Self::NotFound(detail),
                Ok(Code::Invalid) => Self::Invalid(detail),
                Ok(Code::Busy) => Self::Busy(detail),
                Ok(Code::Unspecified) | Err(_) => Self::BadReply(detail),
            },
        }
    }
}

impl From<InvalidSelector> for Failure {
    fn from(invalid: InvalidSelector) -> Self {
        Self::Invalid(format!("selector: {invalid}"))
    }
}

impl From<StoreError> for Failure {
    fn from(cause: StoreError) -> Self {
        error!(%cause, "cannot read the audit history");
        Self::Internal("the audit history cannot be read: see the control plane's log".into())
    }
}

impl From<KeyError> for Failure {
    fn from(cause: KeyError) -> Self {
        error!(%cause, "cannot rotate the keys");
        Self::Internal("the keys cannot be rotated: see the control plane's log".into())
    }
}
