//! What Tidegate says of each object: the conditions of the Gateway API.
//!
//! Owned here: their types, their form in the admin API, and the one condition that
//! depends on dataplanes, `Programmed`. Pure: [`crate::translate`] makes the statuses,
//! the fleet adds what dataplanes answered, `api` shows the outcome.

mod condition;
mod features;
mod observed;
mod programmed;
mod provisioned;
mod show;
mod writer;

pub(crate) use self::writer::Writer;
pub use self::{
    condition::{Condition, ConditionStatus},
    features::supported_features,
    observed::{Observed, ObservedStatuses, Place},
    programmed::{Acknowledgement, programmed},
    provisioned::provisioned,
    show::of_problem,
};
use crate::{
    gateway_api::{GatewayAddress, ParentReference, RouteGroupKind},
    resources::ObjectKey,
};

/// The status of one object, or of one part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectStatus {
    pub kind: &'static str,
    pub key: ObjectKey,
    /// File that the object was read from; empty from Kubernetes.
    pub source: String,
    pub scope: Scope,
    pub conditions: Vec<Condition>,
}

/// Which part of an object a status is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Object,
    /// A Gateway as a whole.
    Gateway {
        /// `status.addresses`.
        addresses: Vec<GatewayAddress>,
        /// `status.attachedListenerSets`; absent: not known.
        attached_listener_sets: Option<i32>,
    },
    /// `status.listeners[]` of a Gateway.
    Listener {
        name: String,
        /// Accepted routes that the listener serves.
        attached_routes: u32,
        supported_kinds: Vec<RouteGroupKind>,
    },
    /// `status.parents[]` of a route, `status.ancestors[]` of a policy.
    Parent(ParentReference),
}

impl ObjectStatus {
    /// The condition of that type.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions
            .iter()
            .find(|condition| condition.type_ == type_)
    }
}
