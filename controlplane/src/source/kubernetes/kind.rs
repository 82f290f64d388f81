//! The kinds that are watched, and how each is read.

use kube::core::{ApiResource, GroupVersionKind};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{gateway_api::GROUP, policy, resources::Object};

/// A kind of the API server's, as it is read.
pub(crate) struct Kind {
    pub name: &'static str,
    pub group: &'static str,
    /// The best first; one that the API server does not have leads to the next.
    pub versions: &'static [&'static str],
    pub plural: &'static str,
    pub namespaced: bool,
    /// Only objects that others refer to are read; of the rest not even the content is sent.
    pub on_reference: bool,
    /// Its status is ours to write.
    pub has_status: bool,
    pub decode: fn(Value) -> Result<Object, Undecodable>,
}

/// What of an object is not of its kind's form.
pub(crate) struct Undecodable {
    /// Path of the field; empty: none in particular.
    pub field: String,
    pub message: String,
}

impl Kind {
    pub(super) fn resource(&self, version: &str) -> ApiResource {
        let gvk = GroupVersionKind::gvk(self.group, version, self.name);
        ApiResource::from_gvk_with_plural(&gvk, self.plural)
    }

    /// The kind with that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }
}

/// How the API server calls a kind, and whether its objects are in namespaces.
pub(crate) fn resource(kind: &str) -> Option<(ApiResource, bool)> {
    let kind = Kind::named(kind)?;
    Some((kind.resource(kind.versions.first()?), kind.namespaced))
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Undecodable> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let field = error.path().to_string();
        Undecodable {
            field: if field == "." { String::new() } else { field },
            message: error.into_inner().to_string(),
        }
    })
}

macro_rules! kinds {
    ($($kind:ident: $group:expr, $versions:expr, $plural:literal $(, $flag:ident = $value:literal)*;)*) => {
        [$({
            #[allow(unused_mut)]
            let mut kind = Kind {
                name: stringify!($kind),
                group: $group,
                versions: &$versions,
                plural: $plural,
                namespaced: true,
                on_reference: false,
                has_status: false,
                decode: |value| Ok(Object::$kind(Box::new(typed(value)?))),
            };
            $(kind.$flag = $value;)*
            kind
        }),*]
    };
}

pub(super) static KINDS: [Kind; 14] = kinds! {
    GatewayClass: GROUP, ["v1", "v1beta1"], "gatewayclasses", namespaced = false, has_status = true;
    Gateway: GROUP, ["v1", "v1beta1"], "gateways", has_status = true;
    ListenerSet: GROUP, ["v1"], "listenersets", has_status = true;
    HTTPRoute: GROUP, ["v1", "v1beta1"], "httproutes", has_status = true;
    GRPCRoute: GROUP, ["v1"], "grpcroutes", has_status = true;
    ReferenceGrant: GROUP, ["v1", "v1beta1"], "referencegrants";
    BackendTLSPolicy: GROUP, ["v1", "v1alpha3"], "backendtlspolicies", has_status = true;
    QUICPolicy: policy::GROUP, ["v1alpha1"], "quicpolicies", has_status = true;
    GatewayParameters: policy::GROUP, ["v1alpha1"], "gatewayparameters";
    Service: "", ["v1"], "services";
    EndpointSlice: "discovery.k8s.io", ["v1"], "endpointslices";
    Secret: "", ["v1"], "secrets", on_reference = true;
    ConfigMap: "", ["v1"], "configmaps", on_reference = true;
    Namespace: "", ["v1"], "namespaces", namespaced = false;
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::Resources;

    #[test]
    fn every_kind_of_the_resources_is_watched() {
        for name in Resources::KINDS {
            assert!(Kind::named(name).is_some(), "{name} is not watched");
        }
    }
}
