//! Tidegate's own kinds, group `tidegate.dev`, version `v1alpha1`.
//!
//! Owned here: their shape, with the schemas and rules by which the API server refuses
//! nonsense, and the CustomResourceDefinitions made of them. Decoding is as lenient as that
//! of [`crate::gateway_api`]: words are text, and [`crate::translate`] judges them again,
//! because files have no API server in front. Never here: defaults or any decision.

mod crds;
mod gateway_parameters;
mod quic_policy;
mod schema;

pub use self::{
    crds::crds,
    gateway_parameters::{
        Autoscaling, DisruptionBudget, GatewayParameters, GatewayParametersSpec, ServiceParameters,
    },
    quic_policy::{Http3Policy, QUICPolicy, QUICPolicySpec, QuicPolicyTarget, TransportPolicy},
};

/// The API group of every kind in this module.
pub const GROUP: &str = "tidegate.dev";
