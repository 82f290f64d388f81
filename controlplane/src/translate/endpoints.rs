//! The addresses behind a port of a Service, out of its EndpointSlices.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use k8s_openapi::{
    api::{
        core::v1::ServicePort,
        discovery::v1::{EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use tidegate_proto::v1;

use super::Fault;
use crate::resources::{Entry, ObjectKey, Resources};

/// EndpointSlices by the Service that they belong to.
pub(super) struct Slices<'a>(BTreeMap<ObjectKey, Vec<&'a EndpointSlice>>);

impl<'a> Slices<'a> {
    pub(super) fn read(resources: &'a Resources) -> Self {
        let mut slices: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (key, Entry { object, .. }) in &resources.endpoint_slices {
            let labels = object.metadata.labels.as_ref();
            if let Some(service) =
                labels.and_then(|labels| labels.get("kubernetes.io/service-name"))
            {
                slices
                    .entry(ObjectKey::new(&key.namespace, service))
                    .or_default()
                    .push(&**object);
            }
        }
        Self(slices)
    }

    /// The ready addresses of all slices, IPv4 before IPv6, each once.
    pub(super) fn ready(&self, service: &ObjectKey, port: &ServicePort) -> Vec<v1::Endpoint> {
        let mut found = BTreeSet::new();
        for slice in self.0.get(service).into_iter().flatten() {
            let Some(number) = number_in(slice, port) else {
                continue;
            };
            for endpoint in slice.endpoints.iter() {
                let ready = endpoint
                    .conditions
                    .as_ref()
                    .and_then(|conditions| conditions.ready);
                // Absent means ready.
                if ready != Some(false) {
                    let parsed = endpoint
                        .addresses
                        .iter()
                        .filter_map(|address| address.parse::<IpAddr>().ok());
                    found.extend(parsed.map(|address| (address, number)));
                }
            }
        }
        let message = |(address, port): (IpAddr, u32)| v1::Endpoint {
            address: address.to_string(),
            port,
        };
        found.into_iter().map(message).collect()
    }
}

/// The number of a Service's port in a slice. Kubernetes gives a slice's port the name of
/// the Service's port; in slices written by hand it may be that of `targetPort`.
fn number_in(slice: &EndpointSlice, port: &ServicePort) -> Option<u32> {
    let ports = || {
        slice
            .ports
            .iter()
            .flatten()
            .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")
    };
    let name = |port: &EndpointPort| port.name.clone().unwrap_or_default();
    let service_port = port.name.clone().unwrap_or_default();
    let found = ports()
        .find(|port| name(port) == service_port)
        .or_else(|| match &port.target_port {
            Some(IntOrString::String(target)) => ports().find(|port| name(port) == *target),
            Some(IntOrString::Int(target)) => ports().find(|port| port.port == Some(*target)),
            None => None,
        })?;
    // A slice's port without a number stands for every port.
    let number = found.port.or(match &port.target_port {
        Some(IntOrString::Int(target)) => Some(*target),
        Some(IntOrString::String(_)) => None,
        None => Some(port.port),
    })?;
    u32::try_from(number)
        .ok()
        .filter(|number| (1..=65_535).contains(number))
}

/// What of a slice cannot be used. The API server would have refused it; a file may hold it.
pub(super) fn fault(slice: &EndpointSlice) -> Option<Fault> {
    let invalid =
        |field: String, problem: String| Some(Fault::new("Invalid", format!("{field}: {problem}")));
    let service = slice
        .metadata
        .labels
        .as_ref()
        .and_then(|l| l.get("kubernetes.io/service-name"));
    if service.is_none() {
        let problem = "is missing; name the Service that the addresses are of";
        return invalid(
            "metadata.labels[kubernetes.io/service-name]".to_owned(),
            problem.to_owned(),
        );
    }
    for (index, endpoint) in slice.endpoints.iter().enumerate() {
        for (place, address) in endpoint.addresses.iter().enumerate() {
            if address.parse::<IpAddr>().is_err() {
                let problem = format!("`{address}` is no IP address; write one");
                return invalid(format!("endpoints[{index}].addresses[{place}]"), problem);
            }
        }
    }
    for (index, port) in slice.ports.iter().flatten().enumerate() {
        if let Some(number) = port.port.filter(|number| !(1..=65_535).contains(number)) {
            let problem = format!("{number} is no port; write a number from 1 to 65535");
            return invalid(format!("ports[{index}].port"), problem);
        }
    }
    None
}
