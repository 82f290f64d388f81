//! Workloads of Gateways: each has data planes and an address of its own.
//!
//! Owned here: what those objects look like ([`objects`], pure), and that they are there
//! ([`Provisioner`], on the leader alone). Never here: what a Gateway means, which
//! [`crate::translate`] has decided, or what becomes of objects whose Gateway is gone: it
//! owns them, so that the cluster collects them.

mod cluster;
mod kind;
mod name;
mod own;
mod plan;
mod render;
mod run;
mod settings;
#[cfg(test)]
mod tests;

pub(crate) use self::run::Followed;
pub use self::{
    kind::Kind,
    name::{label, name},
    own::Own,
    plan::Failures,
    render::{Rendered, objects},
    run::Provisioner,
    settings::{ProvisionArgs, Settings},
};

/// Who changed a field, in the words of server-side apply.
pub const FIELD_MANAGER: &str = "tidegate-controlplane";
/// What [`MANAGED_BY`] says on objects that are provisioned.
pub const MANAGER: &str = "tidegate";
/// Label of all that somebody manages.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label with the name of the Gateway that an object is of, as [`label`] writes it.
pub const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// Label with the name of its class, as [`label`] writes it.
pub const GATEWAY_CLASS_NAME: &str = "gateway.networking.k8s.io/gateway-class-name";
/// Annotation that tells the objects of several installs apart.
const CONTROLLER_NAME: &str = "tidegate.dev/controller-name";
/// Annotation with the hash of what was applied.
const RENDERED: &str = "tidegate.dev/rendered";
