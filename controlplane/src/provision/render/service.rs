//! The Service in front of a Gateway's data planes.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::Context;
use crate::translate::{Port, Transport};

const LOAD_BALANCER: &str = "LoadBalancer";

/// `None` where there is nothing to open, and where more addresses are asked for than a
/// Service can have: then the one that is there stays as it is.
pub(super) fn service(context: &Context<'_>) -> Option<Service> {
    let infrastructure = context.infrastructure;
    if infrastructure.ports.is_empty() || infrastructure.addresses.len() > 1 {
        return None;
    }
    let asked = infrastructure
        .parameters
        .service
        .clone()
        .unwrap_or_default();
    let type_ = asked.type_.unwrap_or_else(|| LOAD_BALANCER.to_owned());
    let balanced = type_ == LOAD_BALANCER;
    let exposed = balanced || type_ == "NodePort";
    let mut metadata = context.metadata();
    metadata
        .annotations
        .get_or_insert_default()
        .extend(asked.annotations);
    let address = infrastructure.addresses.first().cloned();
    Some(Service {
        metadata,
        spec: Some(ServiceSpec {
            selector: Some(context.selector()),
            ports: Some(infrastructure.ports.iter().map(port).collect()),
            external_traffic_policy: asked.external_traffic_policy.filter(|_| exposed),
            load_balancer_class: asked.load_balancer_class.filter(|_| balanced),
            load_balancer_ip: address.filter(|_| balanced),
            type_: Some(type_),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    })
}

/// The same number for clients and pods. TCP and UDP share it, so the name has both.
fn port(port: &Port) -> ServicePort {
    let (name, protocol) = match port.transport {
        Transport::Tcp => ("tcp", "TCP"),
        Transport::Udp => ("udp", "UDP"),
    };
    let number = i32::from(port.number);
    ServicePort {
        name: Some(format!("{name}-{number}")),
        port: number,
        protocol: Some(protocol.to_owned()),
        target_port: Some(IntOrString::Int(number)),
        ..ServicePort::default()
    }
}
