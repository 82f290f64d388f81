//! GatewayClasses: which of them are Tidegate's.

use std::collections::BTreeMap;

use super::{Fault, Options};
use crate::{gateway_api::GatewayClass, resources::Resources};

/// The classes with Tidegate's controller name.
pub(super) struct Classes {
    /// By name, with what is wrong with it.
    ours: BTreeMap<String, Option<Fault>>,
}

impl Classes {
    pub(super) fn read(resources: &Resources, options: &Options) -> Self {
        let ours = resources
            .gateway_classes
            .values()
            .map(|entry| &entry.object);
        let ours = ours.filter(|class| class.spec.controller_name == options.controller_name);
        let judged = ours.map(|class| {
            (
                class.metadata.name.clone().unwrap_or_default(),
                fault(class),
            )
        });
        Self {
            ours: judged.collect(),
        }
    }

    /// Whether Tidegate answers for Gateways of the class.
    pub(super) fn serves(&self, name: &str) -> bool {
        self.ours.contains_key(name)
    }

    /// What keeps a class of Tidegate's from being accepted.
    pub(super) fn fault(&self, name: &str) -> Option<&Fault> {
        self.ours.get(name)?.as_ref()
    }

    /// What it means for a Gateway of the class.
    pub(super) fn check(&self, name: &str) -> Result<(), Fault> {
        match self.fault(name) {
            None => Ok(()),
            Some(fault) => Err(Fault::new(
                "InvalidParameters",
                format!(
                    "spec.gatewayClassName: GatewayClass {name} is not accepted: {}",
                    fault.message
                ),
            )),
        }
    }
}

fn fault(class: &GatewayClass) -> Option<Fault> {
    class.spec.parameters_ref.as_ref().map(|parameters| {
        Fault::new(
            "InvalidParameters",
            format!(
                "spec.parametersRef: kind {} is not supported; remove it",
                parameters.kind
            ),
        )
    })
}
