//! What a `backendRef` refers to.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use tidegate_proto::v1;

use super::{Fault, backend_tls::Policies, endpoints::Slices, grant};
use crate::{
    gateway_api::{GROUP, HttpBackendRef},
    resources::{ObjectKey, Resources},
};

/// Finds backends, and keeps those that were found.
pub(super) struct Backends<'a> {
    resources: &'a Resources,
    slices: Slices<'a>,
    pub policies: Policies<'a>,
    /// Every backend that some rule names, by id.
    pub found: BTreeMap<String, v1::Backend>,
    /// Their addresses, by id.
    pub endpoints: BTreeMap<String, v1::Endpoints>,
}

/// A reference that leads to a port of a Service.
pub(super) struct Resolved {
    pub service: ObjectKey,
    /// Empty where a policy for the Service cannot be satisfied: then it must not be spoken to.
    pub id: String,
}

impl<'a> Backends<'a> {
    pub(super) fn new(resources: &'a Resources) -> Self {
        Self {
            resources,
            slices: Slices::read(resources),
            policies: Policies::read(resources),
            found: BTreeMap::new(),
            endpoints: BTreeMap::new(),
        }
    }

    /// Follows a reference at `field` of an HTTPRoute in `namespace`.
    pub(super) fn resolve(
        &mut self,
        namespace: &str,
        reference: &HttpBackendRef,
        field: &str,
    ) -> Result<Resolved, Fault> {
        let (service, object) = self.service(namespace, reference, field)?;
        let (number, port) = service_port(object, &service, reference, field)?;
        let protocol = protocol(port, &service, field)?;
        let Ok(tls) = self.policies.tls(&service, port) else {
            return Ok(Resolved {
                service,
                id: String::new(),
            });
        };
        let id = format!("{service}:{number}");
        if !self.found.contains_key(&id) {
            let endpoints = self.slices.ready(&service, port);
            self.endpoints.insert(
                id.clone(),
                v1::Endpoints {
                    backend_id: id.clone(),
                    endpoints,
                },
            );
            let backend = v1::Backend {
                id: id.clone(),
                protocol: protocol.into(),
                tls,
                connect_timeout_ms: 0,
            };
            self.found.insert(id.clone(), backend);
        }
        Ok(Resolved { service, id })
    }

    fn service(
        &self,
        namespace: &str,
        reference: &HttpBackendRef,
        field: &str,
    ) -> Result<(ObjectKey, &'a Service), Fault> {
        let group = reference.group.as_deref().unwrap_or_default();
        let kind = reference.kind.as_deref().unwrap_or("Service");
        if (group, kind) != ("", "Service") {
            return Err(Fault::new(
                "InvalidKind",
                format!(
                    "{field}.kind: {kind} of group `{group}` is not supported; refer to a Service"
                ),
            ));
        }
        let target = reference.namespace.as_deref().unwrap_or(namespace);
        let from = grant::From {
            group: GROUP,
            kind: "HTTPRoute",
            namespace,
        };
        let to = grant::To {
            group,
            kind,
            namespace: target,
            name: &reference.name,
        };
        if !grant::permits(self.resources, &from, &to) {
            let message = format!(
                "{field}: Service {target}/{} may not be referred to from here; {}",
                reference.name,
                grant::remedy(&from, &to)
            );
            return Err(Fault::new("RefNotPermitted", message));
        }
        let key = ObjectKey::new(target, &reference.name);
        match self.resources.services.get(&key) {
            Some(entry) => Ok((key, &entry.object)),
            None => Err(not_found(
                format_args!("{field}.name"),
                format!("there is no Service {key}; create it, or correct the name"),
            )),
        }
    }
}

/// The port's number and what the Service says of it.
fn service_port<'a>(
    service: &'a Service,
    key: &ObjectKey,
    reference: &HttpBackendRef,
    field: &str,
) -> Result<(i32, &'a ServicePort), Fault> {
    let field = format_args!("{field}.port");
    let spec = service.spec.as_ref();
    if spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
        let problem = format!(
            "Service {key} is an ExternalName, which has no addresses; use one with EndpointSlices"
        );
        return Err(not_found(field, problem));
    }
    let ports = || spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let known = ports()
        .map(|port| port.port.to_string())
        .collect::<Vec<_>>()
        .join(", ");
    let Some(number) = reference.port else {
        return Err(not_found(
            field,
            format!("is missing; write one of Service {key}: {known}"),
        ));
    };
    let Some(port) = ports().find(|port| port.port == number) else {
        return Err(not_found(
            field,
            format!("Service {key} has no port {number}; it has {known}"),
        ));
    };
    Ok((number, port))
}

/// KEP-3726. Names outside of `kubernetes.io/` say nothing that is acted on.
fn protocol(
    port: &ServicePort,
    service: &ObjectKey,
    field: &str,
) -> Result<v1::BackendProtocol, Fault> {
    let unsupported =
        |problem: String| Fault::new("UnsupportedProtocol", format!("{field}: {problem}"));
    if let Some(transport) = port
        .protocol
        .as_deref()
        .filter(|transport| *transport != "TCP")
    {
        return Err(unsupported(format!(
            "port {} of Service {service} speaks {transport}; use a TCP port",
            port.port
        )));
    }
    match port.app_protocol.as_deref() {
        Some("kubernetes.io/h2c") => Ok(v1::BackendProtocol::Http2),
        Some("kubernetes.io/ws" | "kubernetes.io/wss") => Ok(v1::BackendProtocol::Http1),
        Some(other) if other.starts_with("kubernetes.io/") => Err(unsupported(format!(
            "appProtocol `{other}` of Service {service} is not supported; use kubernetes.io/h2c, or none"
        ))),
        _ => Ok(v1::BackendProtocol::Unspecified),
    }
}

fn not_found(field: std::fmt::Arguments<'_>, problem: String) -> Fault {
    Fault::new("BackendNotFound", format!("{field}: {problem}"))
}
