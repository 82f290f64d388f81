//! A Gateway: whether it is Tidegate's, and what holds for all of its listeners.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use tidegate_proto::v1;

use super::{
    Fault, Options, address, address::Provisioned, class::Classes, conflict, created_at, listener,
    listener::ListenerPlan, parameters,
};
use crate::{
    gateway_api::{Gateway, GatewaySpec},
    policy::GatewayParametersSpec,
    resources::{Entry, ObjectKey, Resources},
};

/// What became of a Gateway.
pub(super) struct GatewayPlan<'a> {
    pub key: ObjectKey,
    pub entry: &'a Entry<Gateway>,
    /// How its data planes run.
    pub parameters: GatewayParametersSpec,
    /// `spec.addresses`, as far as they have values.
    pub asked: Vec<IpAddr>,
    /// What became of them, where Services are made for Gateways.
    pub provisioned: Option<Provisioned>,
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
            parameters: GatewayParametersSpec::default(),
            asked: Vec::new(),
            provisioned: None,
            addresses: Vec::new(),
            refused: None,
            unresolved: None,
            listeners: Vec::new(),
        };
        match plan.check(resources, classes) {
            Ok((parameters, asked)) => {
                if options.bind_addresses && !options.provisioned {
                    let sorted: BTreeSet<_> = asked.iter().collect();
                    plan.addresses = sorted.into_iter().map(IpAddr::to_string).collect();
                }
                (plan.parameters, plan.asked) = (parameters, asked);
                plan.provisioned = options
                    .provisioned
                    .then(|| address::provisioned(resources, &plan));
            }
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

    /// Its parameters, and the addresses that it asks for.
    fn check(
        &self,
        resources: &Resources,
        classes: &Classes,
    ) -> Result<(GatewayParametersSpec, Vec<IpAddr>), Fault> {
        let of_class = classes.parameters(&self.spec().gateway_class_name)?;
        let parameters = parameters::of_gateway(resources, &self.key, self.spec(), &of_class)?;
        Ok((parameters, address::asked(&self.spec().addresses)?))
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
