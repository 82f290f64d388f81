//! BackendTLSPolicies: which Services are spoken to over TLS, and what they must prove.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use tidegate_proto::v1;

use super::{Fault, certificate, created_at, hostname};
use crate::{
    gateway_api::{BackendTLSPolicy, SubjectAltName},
    resources::{Entry, ObjectKey, Resources},
};

/// The policies and what they apply to.
pub(super) struct Policies<'a> {
    pub by_key: BTreeMap<ObjectKey, PolicyPlan<'a>>,
    /// By Service and port name; an empty name is the whole Service.
    targets: BTreeMap<(ObjectKey, String), ObjectKey>,
}

/// What became of a policy.
pub(super) struct PolicyPlan<'a> {
    pub entry: &'a Entry<BackendTLSPolicy>,
    /// Absent: it cannot be satisfied, and nothing it targets may be spoken to.
    pub tls: Option<v1::BackendTls>,
    /// Why it is not accepted.
    pub refused: Option<Fault>,
    /// What it refers to in vain.
    pub unresolved: Vec<Fault>,
    /// The Services that it targets.
    pub services: BTreeSet<ObjectKey>,
}

/// A policy applies and cannot be satisfied.
pub(super) struct Unsatisfied;

impl<'a> Policies<'a> {
    pub(super) fn read(resources: &'a Resources) -> Self {
        let mut policies = Self {
            by_key: BTreeMap::new(),
            targets: BTreeMap::new(),
        };
        let mut by_age: Vec<_> = resources.backend_tls_policies.iter().collect();
        by_age.sort_by_key(|(key, entry)| (created_at(&entry.object.metadata), *key));
        for (key, entry) in by_age {
            let mut plan = plan(resources, key, entry);
            let targeted = policies.claim(resources, key, entry, &mut plan);
            if !targeted && plan.refused.is_none() {
                plan.refused = Some(Fault::new(
                    "TargetNotFound",
                    "spec.targetRefs: no Service of this namespace is named; name one by group ``, kind Service",
                ));
            }
            policies.by_key.insert(key.clone(), plan);
        }
        policies
    }

    /// Takes the targets that no older policy has. True if one exists.
    fn claim(
        &mut self,
        resources: &Resources,
        key: &ObjectKey,
        entry: &Entry<BackendTLSPolicy>,
        plan: &mut PolicyPlan<'_>,
    ) -> bool {
        let mut won = false;
        for (index, target) in entry.object.spec.target_refs.iter().enumerate() {
            let service = ObjectKey::new(&key.namespace, &target.name);
            let is_service = target.group.is_empty() && target.kind == "Service";
            let Some(found) = resources.services.get(&service).filter(|_| is_service) else {
                continue;
            };
            plan.services.insert(service.clone());
            let section = target.section_name.clone().unwrap_or_default();
            if !section.is_empty() && !has_port(&found.object, &section) {
                let message = format!(
                    "spec.targetRefs[{index}].sectionName: Service {service} has no port named `{section}`; \
                     correct the name, or remove it to target the whole Service"
                );
                if !won && plan.refused.is_none() {
                    plan.refused = Some(Fault::new("TargetNotFound", message));
                }
                continue;
            }
            match self.targets.get(&(service.clone(), section.clone())) {
                Some(older) if older != key => {
                    if !won && plan.refused.is_none() {
                        plan.refused = Some(Fault::new(
                            "Conflicted",
                            format!(
                                "spec.targetRefs[{index}]: the older BackendTLSPolicy {older} has Service {service}; \
                                 remove one of the two"
                            ),
                        ));
                    }
                }
                _ => {
                    // One target that is its own makes it a policy in force.
                    won = true;
                    if plan
                        .refused
                        .as_ref()
                        .is_some_and(|fault| OF_TARGETS.contains(&fault.reason))
                    {
                        plan.refused = None;
                    }
                    self.targets.insert((service, section), key.clone());
                }
            }
        }
        !plan.services.is_empty()
    }

    /// The TLS settings for a port of a Service. A policy for the port goes before one for
    /// the Service.
    pub(super) fn tls(
        &self,
        service: &ObjectKey,
        port: &ServicePort,
    ) -> Result<Option<&v1::BackendTls>, Unsatisfied> {
        let of_port = port.name.clone().filter(|name| !name.is_empty());
        let policy = of_port
            .and_then(|name| self.targets.get(&(service.clone(), name)))
            .or_else(|| self.targets.get(&(service.clone(), String::new())));
        match policy.and_then(|key| self.by_key.get(key)) {
            None => Ok(None),
            Some(plan) => plan.tls.as_ref().map(Some).ok_or(Unsatisfied),
        }
    }
}

/// Reasons that hold only while none of a policy's targets is its own.
const OF_TARGETS: [&str; 2] = ["Conflicted", "TargetNotFound"];

fn has_port(service: &Service, name: &str) -> bool {
    let ports = service
        .spec
        .iter()
        .flat_map(|spec| spec.ports.iter().flatten());
    ports
        .into_iter()
        .any(|port| port.name.as_deref() == Some(name))
}

fn plan<'a>(
    resources: &Resources,
    key: &ObjectKey,
    entry: &'a Entry<BackendTLSPolicy>,
) -> PolicyPlan<'a> {
    let mut plan = PolicyPlan {
        entry,
        tls: None,
        refused: None,
        unresolved: Vec::new(),
        services: BTreeSet::new(),
    };
    match settings(resources, key, entry, &mut plan.unresolved) {
        Ok(tls) => plan.tls = Some(tls),
        Err(fault) => plan.refused = Some(fault),
    }
    plan
}

fn settings(
    resources: &Resources,
    key: &ObjectKey,
    entry: &Entry<BackendTLSPolicy>,
    unresolved: &mut Vec<Fault>,
) -> Result<v1::BackendTls, Fault> {
    let validation = &entry.object.spec.validation;
    let invalid = |field: &str, problem: &str| {
        Fault::new("Invalid", format!("spec.validation.{field}: {problem}"))
    };
    hostname::check_precise(&validation.hostname)
        .map_err(|problem| invalid("hostname", &problem))?;
    let names = validation.subject_alt_names.iter().enumerate();
    let subject_alt_names = names
        .map(|(index, name)| {
            subject_alt_name(name)
                .map_err(|problem| invalid(&format!("subjectAltNames[{index}]"), &problem))
        })
        .collect::<Result<_, _>>()?;
    let mut ca_pem = Vec::new();
    for (index, reference) in validation.ca_certificate_refs.iter().enumerate() {
        let field = format!("spec.validation.caCertificateRefs[{index}]");
        if !(reference.group.is_empty() && reference.kind == "ConfigMap") {
            unresolved.push(Fault::new(
                "InvalidKind",
                format!(
                    "{field}: kind {} of group `{}` is not supported; refer to a ConfigMap",
                    reference.kind, reference.group
                ),
            ));
            continue;
        }
        let target = ObjectKey::new(&key.namespace, &reference.name);
        match ca_bundle(resources, &target) {
            Ok(pem) => {
                ca_pem.extend_from_slice(pem.as_bytes());
                ca_pem.push(b'\n');
            }
            Err(problem) => {
                unresolved.push(Fault::new(
                    "InvalidCACertificateRef",
                    format!("{field}: {problem}"),
                ));
            }
        }
    }
    let system = match validation.well_known_ca_certificates.as_deref() {
        None | Some("") => false,
        Some("System") => true,
        Some(other) => {
            return Err(invalid(
                "wellKnownCACertificates",
                &format!("`{other}` is not supported; use System"),
            ));
        }
    };
    match (validation.ca_certificate_refs.is_empty(), system) {
        (true, false) => Err(invalid(
            "caCertificateRefs",
            "is empty; name a ConfigMap with ca.crt, or use wellKnownCACertificates: System",
        )),
        (false, true) => Err(invalid(
            "wellKnownCACertificates",
            "excludes caCertificateRefs; remove one of them",
        )),
        (false, false) if ca_pem.is_empty() => Err(Fault::new(
            "NoValidCACertificate",
            "spec.validation.caCertificateRefs: none of them has a CA certificate; see ResolvedRefs",
        )),
        _ => Ok(v1::BackendTls {
            server_name: validation.hostname.clone(),
            ca_pem: Bytes::from(ca_pem),
            subject_alt_names,
        }),
    }
}

fn subject_alt_name(spec: &SubjectAltName) -> Result<v1::SubjectAltName, String> {
    use v1::subject_alt_name::Kind;
    let kind = match (spec.type_.as_str(), &spec.hostname, &spec.uri) {
        ("Hostname", Some(name), _) => {
            hostname::check(name)?;
            Kind::Dns(name.clone())
        }
        ("URI", _, Some(uri)) => {
            let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
            if scheme.is_empty() || scheme.contains(['/', '?', '#']) {
                return Err(format!("`{uri}` is no absolute URI; write its scheme, too"));
            }
            Kind::Uri(uri.clone())
        }
        ("Hostname" | "URI", ..) => {
            return Err("has no value; write hostname or uri, as the type says".to_owned());
        }
        (other, ..) => return Err(format!("`{other}` is no type; use Hostname or URI")),
    };
    Ok(v1::SubjectAltName { kind: Some(kind) })
}

fn ca_bundle<'a>(resources: &'a Resources, key: &ObjectKey) -> Result<&'a str, String> {
    let entry = resources
        .config_maps
        .get(key)
        .ok_or_else(|| format!("there is no ConfigMap {key}; create it with ca.crt"))?;
    let pem = entry
        .object
        .data
        .as_ref()
        .and_then(|data| data.get("ca.crt"));
    pem.filter(|pem| certificate::is_pem_bundle(pem.as_bytes()))
        .map(String::as_str)
        .ok_or_else(|| {
            format!("ConfigMap {key} has no PEM certificates under ca.crt; put them there")
        })
}
