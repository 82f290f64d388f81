//! A Gateway: whether it is Tidegate's, and what holds for all of its listeners.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use tidegate_proto::v1;

use super::{
    Fault, Options, address,
    address::Provisioned,
    certificate,
    class::Classes,
    conflict, created_at, ech, grant,
    listener::{self, ListenerPlan, Place},
    listener_set::{self, ListenerSetPlan},
    parameters,
};
use crate::{
    gateway_api::{GROUP, Gateway, GatewaySpec, ListenerSet},
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
    /// Shown to backends over TLS that ask for one.
    pub backend_certificate: Option<v1::Certificate>,
    /// Its own, and behind them those of `sets`.
    pub listeners: Vec<ListenerPlan<'a>>,
    /// The ListenerSets that name it, in order of precedence.
    pub sets: Vec<ListenerSetPlan<'a>>,
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
    let sets = listener_set::ByGateway::read(resources);
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
            backend_certificate: None,
            listeners: Vec::new(),
            sets: Vec::new(),
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
        plan.show_backends(resources);
        plan.sets = sets.plan(resources, &plan);
        plan.read_listeners(resources, options);
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

    /// The listeners of its own spec.
    pub(super) fn own(&self) -> &[ListenerPlan<'a>] {
        &self.listeners[..self.spec().listeners.len().min(self.listeners.len())]
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

    /// What `spec.tls.backend` lets backends see, if anything.
    fn show_backends(&mut self, resources: &Resources) {
        let backend = self
            .spec()
            .tls
            .as_ref()
            .and_then(|tls| tls.backend.as_ref());
        let Some(reference) = backend.and_then(|one| one.client_certificate_ref.as_ref()) else {
            return;
        };
        let from = grant::From {
            group: GROUP,
            kind: "Gateway",
            namespace: &self.key.namespace,
        };
        let field = "spec.tls.backend.clientCertificateRef";
        let fault = match certificate::resolve(resources, &from, reference, field) {
            Ok((certificate, warning)) => {
                self.backend_certificate = Some(certificate);
                warning
            }
            Err(fault) => Some(fault),
        };
        self.unresolved = fault.map(|fault| match fault.reason {
            "RefNotPermitted" => fault,
            _ => Fault::new("InvalidClientCertificateRef", fault.message),
        });
    }

    /// Its own listeners, and behind them those of the ListenerSets that it takes.
    fn read_listeners(&mut self, resources: &'a Resources, options: &Options) {
        let own = &self.spec().listeners;
        let mut claims = conflict::Claims::default();
        let mut conflicts = conflict::conflicts(own, |_| false);
        for (index, spec) in own.iter().enumerate() {
            let place = Place::new(own, index, None);
            let conflict = conflicts.remove(&index);
            let plan = listener::plan(resources, options, self, place, conflict);
            self.listeners.push(plan);
            claims.add(spec, "a listener of the Gateway");
        }
        for at in 0..self.sets.len() {
            let set = &self.sets[at];
            let start = self.listeners.len();
            if set.refused.is_none() {
                let (entry, key) = (set.entry, set.key.clone());
                self.read_set(resources, options, entry, &key, &mut claims);
            }
            self.sets[at].listeners = start..self.listeners.len();
        }
        ech::check_public_names(&mut self.listeners);
    }

    fn read_set(
        &mut self,
        resources: &'a Resources,
        options: &Options,
        entry: &'a Entry<ListenerSet>,
        key: &ObjectKey,
        claims: &mut conflict::Claims,
    ) {
        let specs = &entry.object.spec.listeners;
        let mut conflicts = BTreeMap::new();
        for (index, spec) in specs.iter().enumerate() {
            if let Some(fault) = claims.conflict(index, spec) {
                conflicts.insert(index, fault);
            }
        }
        let among = conflict::conflicts(specs, |index| conflicts.contains_key(&index));
        conflicts.extend(among);
        let start = self.listeners.len();
        for index in 0..specs.len() {
            let place = Place::new(specs, index, Some(key));
            let conflict = conflicts.remove(&index);
            let plan = listener::plan(resources, options, self, place, conflict);
            self.listeners.push(plan);
        }
        // Afterwards: within one set nobody goes first.
        for plan in &self.listeners[start..] {
            if plan.conflict.is_none() {
                claims.add(plan.spec, "an older ListenerSet");
            }
        }
    }
}

static NONE: BTreeMap<String, String> = BTreeMap::new();
