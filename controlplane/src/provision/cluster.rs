//! The Kubernetes API, as far as provisioning needs it.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client,
    api::{
        ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions,
        PropagationPolicy,
    },
    core::{GroupVersionKind, PartialObjectMeta},
    runtime::{WatchStreamExt, watcher},
};
use tokio::time::timeout;

use super::{
    CONTROLLER_NAME, FIELD_MANAGER, GATEWAY_CLASS_NAME, Kind, MANAGED_BY, MANAGER, RENDERED,
    Rendered,
    plan::{Id, Present},
};
use crate::resources::ObjectKey;

/// Longest wait for the API to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why an object cannot be as it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{what}: {message}")]
    Refused { what: String, message: String },
    #[error(
        "{what} is there already and not of this Gateway: rename the Gateway, or remove the {kind}"
    )]
    Taken { what: String, kind: &'static str },
    #[error("{what}: the Kubernetes API did not answer")]
    Silent { what: String },
}

impl Failure {
    fn new(what: String, error: kube::Error) -> Self {
        let message = match error {
            kube::Error::Api(status) => status.message,
            other => other.to_string(),
        };
        Self::Refused { what, message }
    }
}

/// What happened to objects of ours.
#[derive(Debug)]
pub(super) enum Seen {
    /// All of a kind, as of now.
    All(Kind, BTreeMap<ObjectKey, Present>),
    Changed(Id, Present),
    Gone(Id, String),
}

#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) client: Client,
    pub(super) controller_name: String,
}

impl Cluster {
    /// Everything that happens to objects of ours, from a list of all on. Never ends.
    pub(super) fn watch(&self) -> impl Stream<Item = Seen> + Send + Unpin + use<> {
        let kinds = Kind::ALL.map(|kind| {
            let api: Api<PartialObjectMeta<DynamicObject>> =
                Api::all_with(self.client.clone(), &kind.api());
            let config = watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
            let controller = self.controller_name.clone();
            let mut listed = BTreeMap::new();
            watcher(api, config)
                .default_backoff()
                .filter_map(move |event| {
                    let seen = match event {
                        Ok(event) => seen(kind, &controller, &mut listed, event),
                        Err(error) => {
                            tracing::warn!(kind = kind.name(), %error, "cannot watch what is provisioned");
                            None
                        }
                    };
                    std::future::ready(seen)
                })
                .boxed()
        });
        stream::select_all(kinds)
    }

    /// Makes an object what it should be. `known`: it is ours.
    pub(super) async fn apply(&self, object: &Rendered, known: bool) -> Result<Present, Failure> {
        let what = format!(
            "{} {}/{}",
            object.kind.name(),
            object.namespace,
            object.name
        );
        let api = self.api(&object.namespace, &object.kind.api());
        if !known {
            let found = answer(&what, api.get_metadata_opt(&object.name)).await?;
            if found.is_some_and(|found| !self.is_ours(&found.metadata)) {
                let kind = object.kind.name();
                return Err(Failure::Taken { what, kind });
            }
        }
        let how = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&object.body);
        let applied = answer(&what, api.patch(&object.name, &how, &patch)).await?;
        Ok(present(&applied.metadata))
    }

    /// Deletes one object, unless another has taken its place.
    pub(super) async fn delete(&self, id: &Id, uid: &str) -> Result<(), Failure> {
        let what = format!("{} {}", id.kind.name(), id.key);
        let api = self.api(&id.key.namespace, &id.kind.api());
        let how = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let deleted = timeout(PATIENCE, api.delete(&id.key.name, &how)).await;
        match deleted {
            Ok(Ok(_)) => Ok(()),
            // It is gone, or another one: done either way.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Ok(()),
            Ok(Err(error)) => Err(Failure::new(what, error)),
            Err(_) => Err(Failure::Silent { what }),
        }
    }

    /// Name of the class of a Gateway, straight from the API. `None`: it is gone.
    pub(super) async fn class_of(&self, gateway: &ObjectKey) -> Result<Option<String>, Failure> {
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway");
        let api = self.api(&gateway.namespace, &ApiResource::from_gvk(&kind));
        let what = format!("Gateway {gateway}");
        let found = answer(&what, api.get_opt(&gateway.name)).await?;
        Ok(found.and_then(|found| {
            let class = &found.data["spec"]["gatewayClassName"];
            class.as_str().map(str::to_owned)
        }))
    }

    fn api(&self, namespace: &str, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, resource)
    }

    fn is_ours(&self, metadata: &ObjectMeta) -> bool {
        let managed = metadata.labels.as_ref().and_then(|all| all.get(MANAGED_BY));
        managed.is_some_and(|by| by == MANAGER) && is_of(&self.controller_name, metadata)
    }
}

async fn answer<T>(
    what: &str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, Failure> {
    match timeout(PATIENCE, request).await {
        Ok(answer) => answer.map_err(|error| Failure::new(what.to_owned(), error)),
        Err(_) => Err(Failure::Silent {
            what: what.to_owned(),
        }),
    }
}

fn is_of(controller: &str, metadata: &ObjectMeta) -> bool {
    let annotations = metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(CONTROLLER_NAME))
        .is_some_and(|name| name == controller)
}

fn seen(
    kind: Kind,
    controller: &str,
    listed: &mut BTreeMap<ObjectKey, Present>,
    event: watcher::Event<PartialObjectMeta<DynamicObject>>,
) -> Option<Seen> {
    use watcher::Event;

    let id = |metadata: &ObjectMeta| Id {
        kind,
        key: ObjectKey::new(
            metadata.namespace.clone().unwrap_or_default(),
            metadata.name.clone().unwrap_or_default(),
        ),
    };
    let ours = |metadata: &ObjectMeta| is_of(controller, metadata);
    match event {
        Event::Init => {
            listed.clear();
            None
        }
        Event::InitApply(object) => {
            if ours(&object.metadata) {
                listed.insert(id(&object.metadata).key, present(&object.metadata));
            }
            None
        }
        Event::InitDone => Some(Seen::All(kind, std::mem::take(listed))),
        Event::Apply(object) => ours(&object.metadata)
            .then(|| Seen::Changed(id(&object.metadata), present(&object.metadata))),
        Event::Delete(object) => ours(&object.metadata).then(|| {
            let uid = object.metadata.uid.clone().unwrap_or_default();
            Seen::Gone(id(&object.metadata), uid)
        }),
    }
}

fn present(metadata: &ObjectMeta) -> Present {
    let label = |name: &str| {
        let labels = metadata.labels.as_ref();
        labels.and_then(|all| all.get(name)).cloned()
    };
    let annotations = metadata.annotations.as_ref();
    let owners = metadata.owner_references.iter().flatten();
    let gateway = owners
        .filter(|owner| owner.kind == "Gateway")
        .map(|owner| owner.name.clone())
        .next();
    Present {
        uid: metadata.uid.clone().unwrap_or_default(),
        gateway: gateway.unwrap_or_default(),
        class: label(GATEWAY_CLASS_NAME).unwrap_or_default(),
        hash: annotations
            .and_then(|all| all.get(RENDERED))
            .cloned()
            .unwrap_or_default(),
    }
}
