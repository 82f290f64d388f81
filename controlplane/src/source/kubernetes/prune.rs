//! What of an object is kept in memory: nothing that no rule reads.

use k8s_openapi::{
    api::{
        core::v1::{Service, ServiceSpec, ServiceStatus},
        discovery::v1::{Endpoint, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::resources::Object;

/// Metadata without what others keep there.
pub(super) fn metadata(metadata: ObjectMeta) -> ObjectMeta {
    let annotations = metadata.annotations.map(|mut annotations| {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        annotations
    });
    // No resource version: it changes with statuses, which are no input.
    ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        generation: metadata.generation,
        creation_timestamp: metadata.creation_timestamp,
        deletion_timestamp: metadata.deletion_timestamp,
        labels: metadata.labels,
        annotations: annotations.filter(|annotations| !annotations.is_empty()),
        ..ObjectMeta::default()
    }
}

/// Drops what of the kinds that there are many of is not read.
pub(super) fn object(object: &mut Object) {
    match object {
        Object::Service(service) => self::service(service),
        Object::EndpointSlice(slice) => self::slice(slice),
        Object::Namespace(namespace) => {
            namespace.metadata.annotations = None;
            (namespace.spec, namespace.status) = (None, None);
        }
        Object::Secret(secret) => secret.metadata.annotations = None,
        Object::ConfigMap(config_map) => {
            config_map.metadata.annotations = None;
            config_map.binary_data = None;
        }
        _ => {}
    }
}

fn service(service: &mut Service) {
    service.metadata.annotations = None;
    if let Some(spec) = service.spec.take() {
        service.spec = Some(ServiceSpec {
            cluster_ip: spec.cluster_ip,
            cluster_ips: spec.cluster_ips,
            external_name: spec.external_name,
            ports: spec.ports,
            type_: spec.type_,
            ..ServiceSpec::default()
        });
    }
    let addresses = service
        .status
        .take()
        .and_then(|status| status.load_balancer);
    let addresses =
        addresses.filter(|balancer| balancer.ingress.as_ref().is_some_and(|i| !i.is_empty()));
    service.status = addresses.map(|balancer| ServiceStatus {
        load_balancer: Some(balancer),
        ..ServiceStatus::default()
    });
}

fn slice(slice: &mut EndpointSlice) {
    slice.metadata.annotations = None;
    // Changes with every pod, and says nothing.
    slice.metadata.generation = None;
    if let Some(labels) = &mut slice.metadata.labels {
        labels.retain(|label, _| label == "kubernetes.io/service-name");
    }
    for endpoint in slice.endpoints.iter_mut() {
        let kept = std::mem::take(endpoint);
        *endpoint = Endpoint {
            addresses: kept.addresses,
            conditions: kept.conditions,
            ..Endpoint::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_keeps_ports_type_and_addresses_alone() {
        let mut service = Object::Service(Box::new(
            serde_json::from_value(json!({
                "metadata": {"name": "web", "annotations": {"big": "text"}, "labels": {"a": "b"}},
                "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80}], "selector": {"app": "web"},
                    "sessionAffinity": "None", "type": "LoadBalancer"},
                "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}, "conditions": []},
            }))
            .unwrap(),
        ));
        object(&mut service);
        let Object::Service(service) = service else {
            unreachable!()
        };
        assert_eq!(
            serde_json::to_value(service).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "web", "labels": {"a": "b"}},
                "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80}], "type": "LoadBalancer"},
                "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
            })
        );
    }

    #[test]
    fn a_status_or_a_manager_of_fields_makes_no_difference() {
        let of = |version: &str| {
            metadata(
                serde_json::from_value(json!({
                    "name": "a", "generation": 3, "resourceVersion": version, "uid": "u",
                    "managedFields": [{"manager": version}],
                    "annotations": {"kubectl.kubernetes.io/last-applied-configuration": version},
                }))
                .unwrap(),
            )
        };
        assert_eq!(of("1"), of("2"));
        assert_eq!(of("1").generation, Some(3));
    }
}
