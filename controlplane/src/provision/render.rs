//! From what a Gateway needs to the objects that give it.

mod pod;
mod scaling;
mod service;

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{ConfigMap, ServiceAccount},
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference},
        util::intstr::IntOrString,
    },
};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    CONTROLLER_NAME, GATEWAY_CLASS_NAME, GATEWAY_NAME, Kind, MANAGED_BY, MANAGER, RENDERED,
    Settings, label, name,
};
use crate::translate::Infrastructure;

/// What the data plane's objects are of.
const NAME: &str = "app.kubernetes.io/name";
const INSTANCE: &str = "app.kubernetes.io/instance";
const APPLICATION: &str = "tidegate-dataplane";
/// Old ReplicaSets that are kept to roll back to.
const REVISIONS: i32 = 2;

/// One object as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    /// Whole, in the form in which it is applied.
    pub body: Value,
    /// Of all that, to tell what has changed.
    pub hash: String,
}

/// Everything that `infrastructure` needs, in the order in which it is applied.
///
/// There is no Service while there is no port to open, and none is changed while more
/// addresses are asked for than one Service can have.
pub fn objects(infrastructure: &Infrastructure, settings: &Settings) -> Vec<Rendered> {
    let context = Context {
        infrastructure,
        settings,
        name: name(&infrastructure.gateway.name, &infrastructure.class),
    };
    let mut objects = vec![
        context.rendered(
            Kind::ServiceAccount,
            &ServiceAccount {
                metadata: context.metadata(),
                automount_service_account_token: Some(false),
                ..ServiceAccount::default()
            },
        ),
        context.rendered(
            Kind::ConfigMap,
            &ConfigMap {
                metadata: context.metadata(),
                data: Some(BTreeMap::from([(
                    pod::CA_FILE.to_owned(),
                    settings.ca_bundle.clone(),
                )])),
                ..ConfigMap::default()
            },
        ),
    ];
    if let Some(service) = service::service(&context) {
        objects.push(context.rendered(Kind::Service, &service));
    }
    objects.push(context.rendered(Kind::Deployment, &deployment(&context)));
    let budget = scaling::disruption_budget(&context);
    objects.push(context.rendered(Kind::PodDisruptionBudget, &budget));
    if let Some(autoscaler) = scaling::autoscaler(&context) {
        objects.push(context.rendered(Kind::HorizontalPodAutoscaler, &autoscaler));
    }
    objects
}

/// What every object of one Gateway is made from.
struct Context<'a> {
    infrastructure: &'a Infrastructure,
    settings: &'a Settings,
    name: String,
}

impl Context<'_> {
    /// Labels that no one else may set.
    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        let infrastructure = self.infrastructure;
        labels.extend([
            (MANAGED_BY.to_owned(), MANAGER.to_owned()),
            (GATEWAY_NAME.to_owned(), label(&infrastructure.gateway.name)),
            (GATEWAY_CLASS_NAME.to_owned(), label(&infrastructure.class)),
        ]);
        labels
    }

    /// Labels that tell this Gateway's pods from all others. They can never change.
    fn selector(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (NAME.to_owned(), APPLICATION.to_owned()),
            (INSTANCE.to_owned(), self.name.clone()),
        ])
    }

    fn label_selector(&self) -> LabelSelector {
        LabelSelector {
            match_labels: Some(self.selector()),
            ..LabelSelector::default()
        }
    }

    /// Of an object: what the Gateway asks for, then what is needed.
    fn metadata(&self) -> ObjectMeta {
        let infrastructure = self.infrastructure;
        let mut labels = infrastructure.labels.clone();
        labels.extend(self.labels());
        let mut annotations = infrastructure.annotations.clone();
        annotations.insert(
            CONTROLLER_NAME.to_owned(),
            self.settings.controller_name.clone(),
        );
        ObjectMeta {
            name: Some(self.name.clone()),
            namespace: Some(infrastructure.gateway.namespace.clone()),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![OwnerReference {
                api_version: "gateway.networking.k8s.io/v1".to_owned(),
                kind: "Gateway".to_owned(),
                name: infrastructure.gateway.name.clone(),
                uid: infrastructure.uid.clone(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        }
    }

    fn rendered(&self, kind: Kind, object: &impl Serialize) -> Rendered {
        // The types of the API hold nothing that JSON cannot.
        let mut body = serde_json::to_value(object).unwrap_or_default();
        let digest = Sha256::digest(body.to_string().as_bytes());
        let hash: String = digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        body["metadata"]["annotations"][RENDERED] = Value::from(hash.clone());
        Rendered {
            kind,
            namespace: self.infrastructure.gateway.namespace.clone(),
            name: self.name.clone(),
            body,
            hash,
        }
    }
}

fn deployment(context: &Context<'_>) -> Deployment {
    let parameters = &context.infrastructure.parameters;
    // On the node's network two pods cannot have one admin port.
    let (surge, unavailable) = match parameters.host_network {
        Some(true) => (0, 1),
        _ => (1, 0),
    };
    Deployment {
        metadata: context.metadata(),
        spec: Some(DeploymentSpec {
            // Left to whoever scales it, where neither is given.
            replicas: parameters
                .replicas
                .filter(|_| parameters.autoscaling.is_none()),
            revision_history_limit: Some(REVISIONS),
            selector: context.label_selector(),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(surge)),
                    max_unavailable: Some(IntOrString::Int(unavailable)),
                }),
            }),
            template: pod::template(context),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}
