//! Addresses of Gateways: what they ask for, and what their Service got.

use std::{collections::BTreeSet, net::IpAddr};

use k8s_openapi::api::core::v1::Service;

use super::{Fault, gateway::GatewayPlan};
use crate::{
    gateway_api::GatewayAddress,
    provision,
    resources::{ObjectKey, Resources},
};

/// The values of `spec.addresses`, each once, in their order.
pub(super) fn asked(addresses: &[GatewayAddress]) -> Result<Vec<IpAddr>, Fault> {
    let mut asked = Vec::new();
    for (index, address) in addresses.iter().enumerate() {
        let field = format!("spec.addresses[{index}]");
        let unsupported =
            |problem: String| Fault::new("UnsupportedAddress", format!("{field}{problem}"));
        match address.type_.as_deref().unwrap_or(IP_ADDRESS) {
            IP_ADDRESS if address.value.is_empty() => {}
            IP_ADDRESS => {
                let parsed = address.value.parse::<IpAddr>().map_err(|_| {
                    unsupported(format!(
                        ".value: `{}` is no IP address; write one, or remove it",
                        address.value
                    ))
                })?;
                if !asked.contains(&parsed.to_canonical()) {
                    asked.push(parsed.to_canonical());
                }
            }
            other => {
                return Err(unsupported(format!(
                    ".type: `{other}` is not supported; use IPAddress"
                )));
            }
        }
    }
    Ok(asked)
}

/// What a Gateway's Service means for its addresses.
pub(super) struct Provisioned {
    /// `status.addresses`: those in service, and if some were asked for, of those.
    pub addresses: Vec<GatewayAddress>,
    /// Why the Gateway cannot be reached where it should be.
    pub fault: Option<Fault>,
    /// What to ask a load balancer for. Where that is more than a Service can be asked for,
    /// the one that it has already, or else all of them: then nobody may ask, because a
    /// Service keeps the address that it gets first.
    pub request: Vec<String>,
}

/// Looks for the Gateway's Service among the resources.
pub(super) fn provisioned(resources: &Resources, plan: &GatewayPlan<'_>) -> Provisioned {
    let class = &plan.spec().gateway_class_name;
    let name = provision::name(&plan.key.name, class);
    let key = ObjectKey::new(&plan.key.namespace, name);
    let service = resources.services.get(&key).map(|entry| &entry.object);
    let service = service.filter(|service| is_of(service, &plan.key.name));
    let given = service
        .map(|service| given(service, &plan.asked))
        .unwrap_or_default();
    let is_asked = |address: &GatewayAddress| {
        let ip = address.value.parse::<IpAddr>();
        ip.is_ok_and(|ip| plan.asked.contains(&ip.to_canonical()))
    };
    let has = |asked: &IpAddr| given.iter().any(|one| one.value.parse() == Ok(*asked));

    let excess = plan.asked.len() > 1;
    let kept = plan.asked.iter().find(|asked| excess && has(asked));
    let request = kept.map_or(plan.asked.as_slice(), std::slice::from_ref);
    let missing: Vec<_> = plan.asked.iter().filter(|asked| !has(asked)).collect();
    let listed = |addresses: &[&IpAddr]| {
        let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        texts.join(", ")
    };
    let not_usable = |problem: &str| {
        let message = format!(
            "spec.addresses: {} cannot be used: {problem}",
            listed(&missing)
        );
        Some(Fault::new("AddressNotUsable", message))
    };
    let fault = if missing.is_empty() && !given.is_empty() {
        None
    } else if excess && !missing.is_empty() {
        not_usable(
            "a Service can be asked for one address; keep one, and give each other one a Gateway of its own",
        )
    } else if given.is_empty() {
        let state = if service.is_some() {
            "has no address yet"
        } else {
            "is not there yet"
        };
        Some(Fault::new(
            "AddressNotAssigned",
            format!("Service {key} {state}"),
        ))
    } else {
        let texts: Vec<_> = given.iter().map(|address| address.value.as_str()).collect();
        not_usable(&format!(
            "Service {key} got {} instead; ask for one that the load balancer may give",
            texts.join(", ")
        ))
    };
    Provisioned {
        request: request.iter().map(ToString::to_string).collect(),
        addresses: given
            .into_iter()
            .filter(|address| plan.asked.is_empty() || is_asked(address))
            .collect(),
        fault,
    }
}

fn is_of(service: &Service, gateway: &str) -> bool {
    let labels = service.metadata.labels.as_ref();
    let label = |name| {
        labels
            .and_then(|labels| labels.get(name))
            .map(String::as_str)
    };
    label(provision::MANAGED_BY) == Some(provision::MANAGER)
        && label(provision::GATEWAY_NAME) == Some(provision::label(gateway).as_str())
}

/// The addresses of a Service, each once. Nodes' are not known here: with the type
/// NodePort those that were asked for are taken to be theirs.
fn given(service: &Service, asked: &[IpAddr]) -> Vec<GatewayAddress> {
    let spec = service.spec.as_ref();
    let type_ = spec.and_then(|spec| spec.type_.as_deref());
    let mut seen = BTreeSet::new();
    let mut given: Vec<GatewayAddress> = Vec::new();
    let mut add = |type_: &str, value: String| {
        if !value.is_empty() && value != "None" && seen.insert(value.clone()) {
            given.push(GatewayAddress {
                type_: Some(type_.to_owned()),
                value,
            });
        }
    };
    match type_.unwrap_or("ClusterIP") {
        "LoadBalancer" => {
            let status = service.status.as_ref();
            let balancer = status.and_then(|status| status.load_balancer.as_ref());
            let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref());
            for one in ingress.into_iter().flatten() {
                match (&one.ip, &one.hostname) {
                    (Some(ip), _) => add(IP_ADDRESS, canonical(ip)),
                    (None, Some(hostname)) => add("Hostname", hostname.clone()),
                    (None, None) => {}
                }
            }
        }
        "NodePort" if !asked.is_empty() => {
            asked.iter().for_each(|ip| add(IP_ADDRESS, ip.to_string()));
        }
        _ => {
            let several = spec
                .and_then(|spec| spec.cluster_ips.clone())
                .unwrap_or_default();
            let first = spec.and_then(|spec| spec.cluster_ip.clone());
            first
                .into_iter()
                .chain(several)
                .for_each(|ip| add(IP_ADDRESS, canonical(&ip)));
        }
    }
    given
}

fn canonical(address: &str) -> String {
    address
        .parse::<IpAddr>()
        .map_or_else(|_| address.to_owned(), |ip| ip.to_canonical().to_string())
}

const IP_ADDRESS: &str = "IPAddress";
