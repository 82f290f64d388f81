//! One write.

use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::DynamicObject,
};
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::super::{Observed, Place};
use crate::{kubernetes::told, leader::WRITE_TIMEOUT, source::kubernetes::resource};

pub(super) enum Outcome {
    Written(Observed),
    /// The object is another one by now: it comes by the watch.
    Conflict,
    /// There is no such object any more.
    Gone,
    Failed,
}

impl Outcome {
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Written(_) => "written",
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::Failed => "failed",
        }
    }
}

/// Puts the fields of `status` in place of those that the object has, if it is still the
/// one that was observed.
pub(super) async fn write(
    client: Client,
    place: &Place,
    observed: &Observed,
    status: &Value,
) -> Outcome {
    let (kind, key) = place;
    let Some((resource, namespaced)) = resource(kind) else {
        return Outcome::Failed;
    };
    let api: Api<DynamicObject> = match namespaced {
        true => Api::namespaced_with(client, &key.namespace, &resource),
        false => Api::all_with(client, &resource),
    };
    let patch = json!({
        "metadata": {"uid": observed.uid, "resourceVersion": observed.resource_version},
        "status": status,
    });
    let asked = PatchParams::default();
    let written = timeout(
        WRITE_TIMEOUT,
        api.patch_status(&key.name, &asked, &Patch::Merge(&patch)),
    )
    .await;
    match written {
        Ok(Ok(object)) => {
            debug!(kind, object = %key, %status, "status written");
            let DynamicObject {
                metadata, mut data, ..
            } = object;
            Outcome::Written(Observed {
                uid: metadata.uid.unwrap_or_default(),
                resource_version: metadata.resource_version.unwrap_or_default(),
                generation: metadata.generation.unwrap_or_default(),
                status: data.get_mut("status").map(Value::take).unwrap_or_default(),
            })
        }
        Ok(Err(kube::Error::Api(answer))) if answer.code == 409 => Outcome::Conflict,
        Ok(Err(kube::Error::Api(answer))) if answer.code == 404 => Outcome::Gone,
        Ok(Err(error)) => {
            warn!(kind, object = %key, error = told(&error), "cannot write the status; it is tried again");
            Outcome::Failed
        }
        Err(_) => {
            warn!(kind, object = %key, "the API server does not answer a status in time; it is tried again");
            Outcome::Failed
        }
    }
}
