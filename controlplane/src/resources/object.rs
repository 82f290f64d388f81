//! One object of any kind that Tidegate reads.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        core::v1::{ConfigMap, Namespace, Secret, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{Entry, ObjectKey, Resources};
use crate::{
    gateway_api::{
        BackendTLSPolicy, GRPCRoute, Gateway, GatewayClass, HTTPRoute, ListenerSet, ReferenceGrant,
    },
    policy::{GatewayParameters, QUICPolicy},
};

macro_rules! kinds {
    ($($kind:ident => $map:ident),* $(,)?) => {
        /// An object of one of the kinds of [`Resources`].
        ///
        /// No `Debug`: it may be a Secret.
        #[derive(Clone, PartialEq)]
        pub enum Object {
            $($kind(Box<$kind>)),*
        }

        impl Object {
            /// The kind's name, as manifests spell it.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$kind(_) => stringify!($kind)),*
                }
            }

            pub fn metadata(&self) -> &ObjectMeta {
                match self {
                    $(Self::$kind(object) => &object.metadata),*
                }
            }

            pub fn metadata_mut(&mut self) -> &mut ObjectMeta {
                match self {
                    $(Self::$kind(object) => &mut object.metadata),*
                }
            }
        }

        impl Resources {
            /// Every kind's name.
            pub const KINDS: &[&str] = &[$(stringify!($kind)),*];

            /// Puts `object` in its map; one of the same kind and key is replaced. True where
            /// that made a difference.
            pub fn insert(&mut self, object: Object, source: impl Into<String>) -> bool {
                let (key, source) = (object.key(), source.into());
                match object {
                    $(Object::$kind(object) => {
                        let entry = Entry { object: Arc::from(object), source, held_back: None };
                        if self.$map.get(&key) == Some(&entry) {
                            return false;
                        }
                        self.$map.insert(key, entry);
                        true
                    })*
                }
            }

            /// Takes an object out. True where it was there.
            pub fn remove(&mut self, kind: &str, key: &ObjectKey) -> bool {
                match kind {
                    $(stringify!($kind) => self.$map.remove(key).is_some(),)*
                    _ => false,
                }
            }

            /// The keys of a kind's objects, in order.
            pub fn keys(&self, kind: &str) -> Vec<ObjectKey> {
                match kind {
                    $(stringify!($kind) => self.$map.keys().cloned().collect(),)*
                    _ => vec![],
                }
            }

            /// How many objects of a kind there are.
            pub fn count(&self, kind: &str) -> usize {
                match kind {
                    $(stringify!($kind) => self.$map.len(),)*
                    _ => 0,
                }
            }

            /// Notes why newer content of an object was refused. One that is not there is
            /// not noted.
            pub fn hold_back(&mut self, kind: &str, key: &ObjectKey, why: String) {
                match kind {
                    $(stringify!($kind) => {
                        if let Some(entry) = self.$map.get_mut(key) {
                            entry.held_back = Some(why);
                        }
                    })*
                    _ => {}
                }
            }
        }
    };
}

kinds! {
    GatewayClass => gateway_classes,
    Gateway => gateways,
    ListenerSet => listener_sets,
    HTTPRoute => http_routes,
    GRPCRoute => grpc_routes,
    ReferenceGrant => reference_grants,
    BackendTLSPolicy => backend_tls_policies,
    QUICPolicy => quic_policies,
    GatewayParameters => gateway_parameters,
    Service => services,
    EndpointSlice => endpoint_slices,
    Secret => secrets,
    ConfigMap => config_maps,
    Namespace => namespaces,
}

impl Object {
    pub fn key(&self) -> ObjectKey {
        let metadata = self.metadata();
        ObjectKey {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }

    /// `Kind namespace/name`.
    pub fn label(&self) -> String {
        format!("{} {}", self.kind(), self.key())
    }

    /// True of GatewayClass and Namespace.
    pub fn is_cluster_scoped(&self) -> bool {
        matches!(self, Self::GatewayClass(_) | Self::Namespace(_))
    }
}
