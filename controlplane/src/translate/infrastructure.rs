//! What each Gateway needs to run, for whoever provisions it.

use std::collections::{BTreeMap, BTreeSet};

use super::gateway::GatewayPlan;
use crate::{policy::GatewayParametersSpec, resources::ObjectKey};

/// What one accepted Gateway needs to run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Infrastructure {
    pub gateway: ObjectKey,
    /// `metadata.uid` of the Gateway, for ownership.
    pub uid: String,
    /// Name of its class.
    pub class: String,
    /// Of the listeners in service.
    pub ports: BTreeSet<Port>,
    /// `spec.infrastructure.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.infrastructure.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// Those of the class, overlaid by the Gateway's.
    pub parameters: GatewayParametersSpec,
    /// Addresses to ask for, in canonical form. More than one: too many for a Service, and
    /// none is to be asked for.
    pub addresses: Vec<String>,
}

/// Why a Gateway that has data planes cannot be reached where it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// `AddressNotAssigned`, `AddressNotUsable` or `NoResources`.
    pub reason: &'static str,
    pub message: String,
}

/// A port to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    pub number: u16,
    pub transport: Transport,
}

/// What a [`Port`] carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    Tcp,
    /// HTTP/3.
    Udp,
}

/// Of the Gateways that are accepted.
pub(super) fn of_gateways(
    gateways: &BTreeMap<ObjectKey, GatewayPlan<'_>>,
) -> BTreeMap<ObjectKey, Infrastructure> {
    let accepted = gateways.iter().filter(|(_, plan)| plan.refused.is_none());
    accepted
        .map(|(key, plan)| (key.clone(), of_gateway(plan)))
        .collect()
}

/// Those that cannot be reached; none where nothing is provisioned.
pub(super) fn unreachable(
    gateways: &BTreeMap<ObjectKey, GatewayPlan<'_>>,
) -> BTreeMap<ObjectKey, Unreachable> {
    let faulty = gateways.iter().filter_map(|(key, plan)| {
        let provisioned = plan.provisioned.as_ref()?;
        let unreachable = match &provisioned.fault {
            _ if plan.parameters.replicas == Some(0) => Unreachable {
                reason: "NoResources",
                message: "its GatewayParameters ask for no replica; write another number"
                    .to_owned(),
            },
            Some(fault) => Unreachable {
                reason: fault.reason,
                message: fault.message.clone(),
            },
            None => return None,
        };
        Some((key.clone(), unreachable))
    });
    faulty.collect()
}

fn of_gateway(plan: &GatewayPlan<'_>) -> Infrastructure {
    let mut ports = BTreeSet::new();
    for (_, config) in plan.served() {
        let Ok(number) = u16::try_from(config.port) else {
            continue;
        };
        let mut open = |transport| ports.insert(Port { number, transport });
        open(Transport::Tcp);
        if config.http3.is_some() {
            open(Transport::Udp);
        }
    }
    let asked = plan.spec().infrastructure.clone().unwrap_or_default();
    Infrastructure {
        gateway: plan.key.clone(),
        uid: plan.entry.object.metadata.uid.clone().unwrap_or_default(),
        class: plan.spec().gateway_class_name.clone(),
        ports,
        labels: asked.labels,
        annotations: asked.annotations,
        parameters: plan.parameters.clone(),
        addresses: match &plan.provisioned {
            Some(provisioned) => provisioned.request.clone(),
            None => plan.asked.iter().map(ToString::to_string).collect(),
        },
    }
}
