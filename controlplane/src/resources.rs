//! Every input object, in sorted maps.
//!
//! Owned here: [`Resources`], the whole input of [`crate::translate`], and where each
//! object came from. Never here: a client, a watch or a decision. Sources fill it, one
//! value for each change; nothing edits a published one.

mod object;

use std::{collections::BTreeMap, fmt, sync::Arc};

use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace, Secret, Service},
    discovery::v1::EndpointSlice,
};

pub use self::object::Object;
use crate::{
    gateway_api::{
        BackendTLSPolicy, GRPCRoute, Gateway, GatewayClass, HTTPRoute, ListenerSet, ReferenceGrant,
    },
    policy::{GatewayParameters, QUICPolicy},
};

/// Namespace and name. Objects without namespaces have an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    pub namespace: String,
    pub name: String,
}

impl ObjectKey {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// An object and its origin.
///
/// No `Debug`: an object may be a Secret.
#[derive(Clone, PartialEq)]
pub struct Entry<T> {
    /// Shared, so that a change of one object does not copy the others.
    pub object: Arc<T>,
    /// File that it was read from; empty from Kubernetes.
    pub source: String,
    /// Why newer content of it was refused, so that this older one serves on.
    pub held_back: Option<String>,
}

/// Every object that configuration is made of.
#[derive(Clone, Default, PartialEq)]
pub struct Resources {
    pub gateway_classes: BTreeMap<ObjectKey, Entry<GatewayClass>>,
    pub gateways: BTreeMap<ObjectKey, Entry<Gateway>>,
    pub listener_sets: BTreeMap<ObjectKey, Entry<ListenerSet>>,
    pub http_routes: BTreeMap<ObjectKey, Entry<HTTPRoute>>,
    pub grpc_routes: BTreeMap<ObjectKey, Entry<GRPCRoute>>,
    pub reference_grants: BTreeMap<ObjectKey, Entry<ReferenceGrant>>,
    pub backend_tls_policies: BTreeMap<ObjectKey, Entry<BackendTLSPolicy>>,
    pub quic_policies: BTreeMap<ObjectKey, Entry<QUICPolicy>>,
    pub gateway_parameters: BTreeMap<ObjectKey, Entry<GatewayParameters>>,
    pub services: BTreeMap<ObjectKey, Entry<Service>>,
    pub endpoint_slices: BTreeMap<ObjectKey, Entry<EndpointSlice>>,
    pub secrets: BTreeMap<ObjectKey, Entry<Secret>>,
    pub config_maps: BTreeMap<ObjectKey, Entry<ConfigMap>>,
    pub namespaces: BTreeMap<ObjectKey, Entry<Namespace>>,
}

/// Counts only: secrets are never shown.
impl fmt::Debug for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resources")
            .field("gateway_classes", &self.gateway_classes.len())
            .field("gateways", &self.gateways.len())
            .field("listener_sets", &self.listener_sets.len())
            .field("http_routes", &self.http_routes.len())
            .field("grpc_routes", &self.grpc_routes.len())
            .field("reference_grants", &self.reference_grants.len())
            .field("backend_tls_policies", &self.backend_tls_policies.len())
            .field("quic_policies", &self.quic_policies.len())
            .field("gateway_parameters", &self.gateway_parameters.len())
            .field("services", &self.services.len())
            .field("endpoint_slices", &self.endpoint_slices.len())
            .field("secrets", &self.secrets.len())
            .field("config_maps", &self.config_maps.len())
            .field("namespaces", &self.namespaces.len())
            .finish()
    }
}
