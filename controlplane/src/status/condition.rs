//! One condition.

/// metav1.Condition without the time of its last change, which whoever stores it adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `Accepted`, `Programmed`, `ResolvedRefs`, ….
    pub type_: &'static str,
    pub status: ConditionStatus,
    /// One word, of the Gateway API's list for the type.
    pub reason: &'static str,
    /// What is wrong, where, and what to do.
    pub message: String,
    /// `metadata.generation` of the object that was judged.
    pub observed_generation: i64,
}

impl Condition {
    /// A condition of the object with this generation.
    pub fn new(
        type_: &'static str,
        status: ConditionStatus,
        reason: &'static str,
        message: impl Into<String>,
        observed_generation: i64,
    ) -> Self {
        Self {
            type_,
            status,
            reason,
            message: message.into(),
            observed_generation,
        }
    }
}

/// Three-valued, as Kubernetes has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

impl ConditionStatus {
    /// `True`, `False` or `Unknown`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}
