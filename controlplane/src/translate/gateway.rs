//! A Gateway: whether it is Tidegate's, and what holds for all of its listeners.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use tidegate_proto::v1;

use super::{
    Fault, Options, class::Classes, conflict, created_at, listener, listener::ListenerPlan,
};
use crate::{
    gateway_api::{Gateway, GatewaySpec},
    resources::{Entry, ObjectKey, Resources},
};

/// What became of a Gateway.
pub(super) struct GatewayPlan<'a> {
    pub key: ObjectKey,
    pub entry: &'a Entry<Gateway>,
    /// Addresses to bind; none: all.
    pub addresses: Vec<String>,
    /// Why the whole of it is not accepted.
    pub refused: Option<Fault>,
    /// What it refers to in vain.
    pub unresolved: Option<Fault>,
    pub listeners: Vec<ListenerPlan<'a>>,
}

/// The Gateways of accepted classes, by key.
pub(super) fn plan<'a>(
    resources: &'a Resources,
    options: &Options,
    classes: &Classes,
) -> BTreeMap<ObjectKey, GatewayPlan<'a>> {
    let ours = resources
        .gateways
        .iter()
        .filter(|(_, entry)| classes.serves(&entry.object.spec.gateway_class_name));
    ours.map(|(key, entry)| {
        let mut plan = GatewayPlan {
            key: key.clone(),
            entry,
            addresses: Vec::new(),
            refused: None,
            unresolved: None,
            listeners: Vec::new(),
        };
        match plan.check(classes) {
            Ok(addresses) if options.bind_addresses => plan.addresses = addresses,
            Ok(_) => {}
            Err(fault) => plan.refused = Some(fault),
        }
        plan.unresolved = plan.client_certificate_fault();
        let mut conflicts = conflict::conflicts(&plan.spec().listeners);
        plan.listeners = (0..plan.spec().listeners.len())
            .map(|index| listener::plan(resources, options, &plan, index, conflicts.remove(&index)))
            .collect();
        (key.clone(), plan)
    })
    .collect()
}

impl<'a> GatewayPlan<'a> {
    pub(super) fn spec(&self) -> &'a GatewaySpec {
        &self.entry.object.spec
    }

    pub(super) fn annotations(&self) -> &'a BTreeMap<String, String> {
        self.entry
            .object
            .metadata
            .annotations
            .as_ref()
            .unwrap_or(&NONE)
    }

    /// For precedence: the older Gateway first.
    pub(super) fn age(&self) -> (i64, &ObjectKey) {
        (created_at(&self.entry.object.metadata), &self.key)
    }

    /// The listeners in service.
    pub(super) fn served(&self) -> impl Iterator<Item = (&ListenerPlan<'a>, &v1::Listener)> {
        self.listeners
            .iter()
            .filter_map(|plan| plan.config.as_ref().map(|config| (plan, config)))
    }

    /// The addresses to bind.
    fn check(&self, classes: &Classes) -> Result<Vec<String>, Fault> {
        classes.check(&self.spec().gateway_class_name)?;
        if let Some(parameters) = self
            .spec()
            .infrastructure
            .as_ref()
            .and_then(|i| i.parameters_ref.as_ref())
        {
            return Err(Fault::new(
                "InvalidParameters",
                format!(
                    "spec.infrastructure.parametersRef: kind {} is not supported; remove it",
                    parameters.kind
                ),
            ));
        }
        let mut addresses = BTreeSet::new();
        for (index, address) in self.spec().addresses.iter().enumerate() {
            let field = format!("spec.addresses[{index}]");
            let unsupported =
                |problem: String| Fault::new("UnsupportedAddress", format!("{field}{problem}"));
            match address.type_.as_deref().unwrap_or("IPAddress") {
                "IPAddress" if address.value.is_empty() => {}
                "IPAddress" => {
                    let parsed = address.value.parse::<IpAddr>().map_err(|_| {
                        unsupported(format!(
                            ".value: `{}` is no IP address; write one, or remove it",
                            address.value
                        ))
                    })?;
                    addresses.insert(parsed.to_canonical());
                }
                other => {
                    return Err(unsupported(format!(
                        ".type: `{other}` is not supported; use IPAddress"
                    )));
                }
            }
        }
        Ok(addresses.iter().map(IpAddr::to_string).collect())
    }

    fn client_certificate_fault(&self) -> Option<Fault> {
        let backend = self.spec().tls.as_ref()?.backend.as_ref()?;
        backend.client_certificate_ref.as_ref()?;
        Some(Fault::new(
            "InvalidClientCertificateRef",
            "spec.tls.backend.clientCertificateRef: client certificates towards backends are not supported by \
             this version; remove it",
        ))
    }

    /// Whether `spec.tls.frontend` asks for client certificates on a port.
    pub(super) fn validates_clients(&self, port: i32) -> bool {
        let Some(frontend) = self
            .spec()
            .tls
            .as_ref()
            .and_then(|tls| tls.frontend.as_ref())
        else {
            return false;
        };
        let of_port = frontend.per_port.iter().find(|entry| entry.port == port);
        of_port
            .map_or(&frontend.default, |entry| &entry.tls)
            .validation
            .is_some()
    }
}

static NONE: BTreeMap<String, String> = BTreeMap::new();
