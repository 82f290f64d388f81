//! GatewayClasses: which of them are Tidegate's.

use std::collections::BTreeMap;

use super::{Fault, Options, parameters};
use crate::{policy::GatewayParametersSpec, resources::Resources};

/// The classes with Tidegate's controller name.
pub(super) struct Classes {
    /// By name, with its parameters, or with what is wrong with it.
    ours: BTreeMap<String, Result<GatewayParametersSpec, Fault>>,
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
                parameters::of_class(resources, class),
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
        self.ours.get(name)?.as_ref().err()
    }

    /// What Gateways of the class have in common; of one that is not accepted, what that
    /// means for them.
    pub(super) fn parameters(&self, name: &str) -> Result<GatewayParametersSpec, Fault> {
        match self.ours.get(name) {
            None => Ok(GatewayParametersSpec::default()),
            Some(Ok(parameters)) => Ok(parameters.clone()),
            Some(Err(fault)) => Err(Fault::new(
                "InvalidParameters",
                format!(
                    "spec.gatewayClassName: GatewayClass {name} is not accepted: {}",
                    fault.message
                ),
            )),
        }
    }
}
