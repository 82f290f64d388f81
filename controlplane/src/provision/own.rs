//! What the control plane makes for itself: it goes when its Deployment goes, and operators
//! find there whom to trust.

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        coordination::v1::Lease,
        core::v1::{ConfigMap, Secret},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{FIELD_MANAGER, MANAGED_BY, MANAGER};
use crate::{keys::SECRET as KEYS, leader::LEASE, trust::SECRET as AUTHORITY};

/// Where this control plane runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    pub namespace: String,
    pub deployment: String,
}

/// Publishes `ca_bundle`, and gives all that is the control plane's own to its Deployment.
pub(super) async fn settle(client: &Client, own: &Own, ca_bundle: &str) -> kube::Result<()> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), &own.namespace);
    let deployment = deployments.get(&own.deployment).await?;
    let owner = OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: own.deployment.clone(),
        uid: deployment.uid().unwrap_or_default(),
        controller: None,
        block_owner_deletion: None,
    };
    let bundle = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": AUTHORITY,
            "labels": { MANAGED_BY: MANAGER },
            "ownerReferences": [owner],
        },
        "data": { "ca.crt": ca_bundle },
    });
    let how = PatchParams::apply(FIELD_MANAGER).force();
    Api::<ConfigMap>::namespaced(client.clone(), &own.namespace)
        .patch(AUTHORITY, &how, &Patch::Apply(&bundle))
        .await?;
    adopt::<Secret>(client, own, KEYS, &owner).await?;
    adopt::<Secret>(client, own, AUTHORITY, &owner).await?;
    adopt::<Lease>(client, own, LEASE, &owner).await
}

/// One that is not there is made later, and adopted the next time.
async fn adopt<K>(
    client: &Client,
    own: &Own,
    name: &str,
    owner: &OwnerReference,
) -> kube::Result<()>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
    K::DynamicType: Default,
{
    let patch = Patch::Merge(json!({ "metadata": { "ownerReferences": [owner] } }));
    let api = Api::<K>::namespaced(client.clone(), &own.namespace);
    match api
        .patch_metadata(name, &PatchParams::default(), &patch)
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}
