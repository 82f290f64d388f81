//! What a `backendRef` refers to.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use tidegate_proto::v1;

use super::{Fault, backend_tls::Policies, endpoints::Slices, grant, route_form::RouteKind};
use crate::{
    gateway_api::{BackendObjectReference, GROUP, HttpBackendRef},
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

/// The route whose references are followed.
#[derive(Clone, Copy)]
pub(super) struct Referrer<'a> {
    pub kind: RouteKind,
    pub namespace: &'a str,
}

/// A reference to a backend.
pub(super) struct Reference<'a> {
    group: &'a str,
    kind: &'a str,
    namespace: Option<&'a str>,
    name: &'a str,
    port: Option<i32>,
}

impl<'a> From<&'a HttpBackendRef> for Reference<'a> {
    fn from(spec: &'a HttpBackendRef) -> Self {
        Self {
            group: spec.group.as_deref().unwrap_or_default(),
            kind: spec.kind.as_deref().unwrap_or("Service"),
            namespace: spec.namespace.as_deref(),
            name: &spec.name,
            port: spec.port,
        }
    }
}

impl<'a> From<&'a BackendObjectReference> for Reference<'a> {
    fn from(spec: &'a BackendObjectReference) -> Self {
        Self {
            group: spec.group.as_deref().unwrap_or_default(),
            kind: spec.kind.as_deref().unwrap_or("Service"),
            namespace: spec.namespace.as_deref(),
            name: &spec.name,
            port: spec.port,
        }
    }
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

    /// Follows a reference at `field` of a route.
    pub(super) fn resolve(
        &mut self,
        referrer: Referrer<'_>,
        reference: &Reference<'_>,
        field: &str,
    ) -> Result<Resolved, Fault> {
        let (service, object) = self.service(referrer, reference, field)?;
        let (number, port) = service_port(object, &service, reference, field)?;
        let Ok(tls) = self.policies.tls(&service, port) else {
            protocol(referrer.kind, port, true, &service, field)?;
            return Ok(Resolved {
                service,
                id: String::new(),
            });
        };
        let protocol = protocol(referrer.kind, port, tls.is_some(), &service, field)?;
        let id = format!("{service}:{number}{}", protocol.suffix);
        if !self.found.contains_key(&id) {
            let backend = v1::Backend {
                id: id.clone(),
                protocol: protocol.spoken.into(),
                tls: tls.cloned(),
                connect_timeout_ms: 0,
            };
            self.found.insert(id.clone(), backend);
            let endpoints = self.slices.ready(&service, port);
            self.endpoints.insert(
                id.clone(),
                v1::Endpoints {
                    backend_id: id.clone(),
                    endpoints,
                },
            );
        }
        Ok(Resolved { service, id })
    }

    fn service(
        &self,
        referrer: Referrer<'_>,
        reference: &Reference<'_>,
        field: &str,
    ) -> Result<(ObjectKey, &'a Service), Fault> {
        let (group, kind, name) = (reference.group, reference.kind, reference.name);
        if (group, kind) != ("", "Service") {
            return Err(Fault::new(
                "InvalidKind",
                format!(
                    "{field}.kind: {kind} of group `{group}` is not supported; refer to a Service"
                ),
            ));
        }
        let target = reference.namespace.unwrap_or(referrer.namespace);
        let from = grant::From {
            group: GROUP,
            kind: referrer.kind.name(),
            namespace: referrer.namespace,
        };
        let to = grant::To {
            group,
            kind,
            namespace: target,
            name,
        };
        if !grant::permits(self.resources, &from, &to) {
            let message = format!(
                "{field}: Service {target}/{name} may not be referred to from here; {}",
                grant::remedy(&from, &to)
            );
            return Err(Fault::new("RefNotPermitted", message));
        }
        let key = ObjectKey::new(target, name);
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
    reference: &Reference<'_>,
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
    let known = || {
        let numbers = ports().map(|port| port.port.to_string());
        numbers.collect::<Vec<_>>().join(", ")
    };
    let Some(number) = reference.port else {
        return Err(not_found(
            field,
            format!("is missing; write one of Service {key}: {}", known()),
        ));
    };
    let Some(port) = ports().find(|port| port.port == number) else {
        return Err(not_found(
            field,
            format!("Service {key} has no port {number}; it has {}", known()),
        ));
    };
    Ok((number, port))
}

/// How a backend is spoken to.
struct Spoken {
    spoken: v1::BackendProtocol,
    /// Of the backend's id, where this kind of route speaks otherwise than others do.
    suffix: &'static str,
}

/// GEP-1911. Names outside of Kubernetes' own say nothing that is acted on.
fn protocol(
    kind: RouteKind,
    port: &ServicePort,
    over_tls: bool,
    service: &ObjectKey,
    field: &str,
) -> Result<Spoken, Fault> {
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
    let word = port.app_protocol.as_deref().unwrap_or_default();
    match (word, kind) {
        ("kubernetes.io/h2c", _) => Ok(Spoken {
            spoken: v1::BackendProtocol::Http2,
            suffix: "",
        }),
        ("kubernetes.io/ws" | "kubernetes.io/wss", RouteKind::Grpc) => Err(unsupported(format!(
            "appProtocol `{word}` of Service {service} is no protocol for gRPC; use kubernetes.io/h2c, or none"
        ))),
        ("kubernetes.io/wss", _) if !over_tls => Err(unsupported(format!(
            "appProtocol `{word}` of Service {service} is over TLS; add a BackendTLSPolicy for the Service"
        ))),
        ("kubernetes.io/ws" | "kubernetes.io/wss", _) => Ok(Spoken {
            spoken: v1::BackendProtocol::Http1,
            suffix: "",
        }),
        _ if RESERVED.iter().any(|prefix| word.starts_with(prefix)) => Err(unsupported(format!(
            "appProtocol `{word}` of Service {service} is not supported; use kubernetes.io/h2c, or none"
        ))),
        (_, RouteKind::Grpc) => Ok(Spoken {
            spoken: v1::BackendProtocol::Http2,
            suffix: "#h2",
        }),
        (_, RouteKind::Http) => Ok(Spoken {
            spoken: v1::BackendProtocol::Unspecified,
            suffix: "",
        }),
    }
}

/// Prefixes of protocols' names that stand for one known protocol each.
const RESERVED: [&str; 2] = ["kubernetes.io/", "gateway.networking.k8s.io/"];

fn not_found(field: std::fmt::Arguments<'_>, problem: String) -> Fault {
    Fault::new("BackendNotFound", format!("{field}: {problem}"))
}
