//! Resources in, configuration out.
//!
//! Owned here: every rule of the Gateway API. Pure and whole: each call reads all the
//! resources and makes all the snapshots and statuses, in a fixed order, so that replicas
//! agree to the byte and nothing old lingers. Never here: a client, a clock, a log or a
//! cache. The fleet calls [`translate`] whenever a source publishes; what dataplanes
//! answer is added by [`crate::status::programmed`].

mod address;
mod allowed;
mod backend;
mod backend_tls;
mod certificate;
mod claims;
mod class;
mod conditions;
mod conflict;
mod cors;
mod duration;
mod ech;
mod endpoints;
mod fault;
mod filter;
mod frontend;
mod gateway;
#[cfg(test)]
mod golden;
mod grant;
mod hostname;
mod infrastructure;
mod listener;
mod listener_options;
mod listener_set;
mod matches;
mod parameters;
mod parent;
mod path;
mod quic_policy;
mod retry;
mod route;
mod route_form;
mod rule;
mod snapshot;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tidegate_proto::v1;

pub use self::infrastructure::{Infrastructure, Port, Transport, Unreachable};
use self::{
    backend::Backends, claims::Claims, class::Classes, fault::Fault, gateway::GatewayPlan,
    route::RoutePlan, route_form::RouteForm,
};
pub(crate) use self::{
    certificate::check as check_key_pair,
    cors::is_origin,
    duration::milliseconds as parse_duration,
    hostname::check_precise as check_host_name,
    matches::{METHODS, is_token},
};
use crate::{
    keys::of_gateway,
    resources::{ObjectKey, Resources},
    status::ObjectStatus,
};

/// What translation needs besides the resources.
#[derive(Clone, Debug)]
pub struct Options {
    /// Shared secrets: as they are in the snapshot of all Gateways; in that of one, what
    /// is derived of them.
    pub keys: v1::Keys,
    /// GatewayClasses with this `controllerName` are served.
    pub controller_name: String,
    /// HTTP/3 on HTTPS listeners that do not say.
    pub http3: bool,
    /// Bind listeners to `spec.addresses` of their Gateway. Off where the addresses are
    /// those of a load balancer in front.
    pub bind_addresses: bool,
    /// Data planes and Services are made for each Gateway, as with Kubernetes: addresses
    /// are those of the Service, and a Gateway without one is not programmed.
    pub provisioned: bool,
}

/// Name that Tidegate's GatewayClasses give as their controller.
pub const CONTROLLER_NAME: &str = "tidegate.dev/gateway-controller";

impl Default for Options {
    fn default() -> Self {
        Self {
            keys: v1::Keys::default(),
            controller_name: CONTROLLER_NAME.to_owned(),
            http3: true,
            bind_addresses: true,
            provisioned: false,
        }
    }
}

/// Everything that follows from the resources.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// By Gateway, `namespace/name`; under the empty name, one with all of them, for a
    /// dataplane without a Gateway of its own.
    pub snapshots: BTreeMap<String, v1::Snapshot>,
    /// By backend id: each backend of a snapshot has one.
    pub endpoints: BTreeMap<String, v1::Endpoints>,
    /// Without `Programmed` where that is for dataplanes to say.
    pub statuses: Vec<ObjectStatus>,
    /// Listeners, by id, that only the snapshot of all leaves out, because an older
    /// Gateway has the port; with the reason.
    pub shadowed: BTreeMap<String, String>,
    /// By ListenerSet, the Gateway that it adds listeners to.
    pub listener_sets: BTreeMap<ObjectKey, ObjectKey>,
    /// By Gateway, what it needs to run; only of those that are accepted.
    pub infrastructures: BTreeMap<ObjectKey, Infrastructure>,
    /// Gateways that are provisioned for and cannot be reached as they should be.
    pub unreachable: BTreeMap<ObjectKey, Unreachable>,
}

/// Computes the configuration of every dataplane and the status of every object.
pub fn translate(resources: &Resources, options: &Options) -> Translation {
    let classes = Classes::read(resources, options);
    let mut gateways = gateway::plan(resources, options, &classes);
    let quic_policies = quic_policy::apply(resources, &mut gateways);
    // Only now it is known where HTTP/3 is on.
    for gateway in gateways.values_mut() {
        conflict::mark_collisions(&mut gateway.listeners);
    }
    let mut backends = Backends::new(resources);
    let routes = routes(resources, &mut gateways, &mut backends);

    let shadowed = snapshot::shadowed(&gateways);
    let nothing = BTreeMap::new();
    let mut snapshots: BTreeMap<_, _> = gateways
        .iter()
        .map(|(key, gateway)| {
            let (name, alone) = (key.to_string(), std::iter::once(gateway));
            // A dataplane of one Gateway is not to know what another's seals.
            let keys = of_gateway(&options.keys, &name);
            let snapshot = snapshot::assemble(keys, alone, &nothing, &routes, &backends);
            (name, snapshot)
        })
        .collect();
    let all = snapshot::assemble(
        options.keys.clone(),
        gateways.values(),
        &shadowed,
        &routes,
        &backends,
    );
    snapshots.insert(String::new(), all);

    let mut endpoints = BTreeMap::new();
    for backend in snapshots.values().flat_map(|snapshot| &snapshot.backends) {
        if let Some(addresses) = backends.endpoints.get(&backend.id) {
            endpoints
                .entry(backend.id.clone())
                .or_insert_with(|| addresses.clone());
        }
    }

    let mut statuses = conditions::of_classes(resources, options, &classes);
    statuses.extend(conditions::of_gateways(resources, &gateways));
    statuses.extend(conditions::of_listener_sets(resources, &gateways));
    statuses.extend(conditions::of_routes(&routes));
    statuses.extend(conditions::of_policies(&backends.policies.by_key, &routes));
    statuses.extend(conditions::of_quic_policies(&quic_policies));
    statuses.extend(conditions::of_slices(resources));
    Translation {
        snapshots,
        endpoints,
        statuses,
        shadowed,
        listener_sets: listener_set::attached(&gateways),
        infrastructures: infrastructure::of_gateways(&gateways),
        unreachable: infrastructure::unreachable(&gateways),
    }
}

/// Every route, HTTPRoutes first.
fn routes<'a>(
    resources: &'a Resources,
    gateways: &mut BTreeMap<ObjectKey, GatewayPlan<'_>>,
    backends: &mut Backends<'_>,
) -> Vec<RoutePlan<'a>> {
    let http = resources.http_routes.iter();
    let http = http.map(|(key, entry)| RouteForm::of_http(key, entry));
    let grpc = resources.grpc_routes.iter();
    let grpc = grpc.map(|(key, entry)| RouteForm::of_grpc(key, entry));
    let mut forms: Vec<_> = http.chain(grpc).collect();
    forms.sort_by_key(RouteForm::age);
    let mut claims = Claims::default();
    let mut plan = |form| route::plan(resources, gateways, backends, &mut claims, form);
    let mut plans: Vec<_> = forms.into_iter().map(&mut plan).collect();
    plans.sort_by_key(|plan| (plan.form.kind, plan.form.key));
    plans
}

/// UNIX seconds, for precedence by age.
fn created_at(metadata: &ObjectMeta) -> i64 {
    metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0.as_second())
        .unwrap_or_default()
}
