//! Why something is refused, in the Gateway API's words.

use std::fmt::Display;

/// A reason for a condition, and the sentence that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// One word of the Gateway API's list for the condition.
    pub reason: &'static str,
    /// Names the field, what is wrong and what to do.
    pub message: String,
}

impl Fault {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// A value that this version does not serve.
    pub(super) fn unsupported(field: impl Display, problem: impl Display) -> Self {
        Self::new("UnsupportedValue", format!("{field}: {problem}"))
    }
}

/// One message of many faults. The API server takes 32 KiB; a reader takes less.
pub(super) fn summary(faults: &[Fault]) -> String {
    let mut shown: Vec<_> = faults
        .iter()
        .take(SHOWN)
        .map(|fault| fault.message.clone())
        .collect();
    if faults.len() > SHOWN {
        shown.push(format!("and {} more", faults.len() - SHOWN));
    }
    shown.join("; ")
}

const SHOWN: usize = 10;
