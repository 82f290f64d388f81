//! What a control plane does more where its resources come from a cluster: it shares keys
//! with its replicas, and one of them writes.

use std::{fs, sync::Arc};

use anyhow::{Context, anyhow};
use kube::{Client, Config};
use tokio::{sync::watch, task::JoinSet};
use tracing::info;

use crate::{
    clock::unix_millis,
    config::Kubernetes,
    fleet::{Fleet, publish},
    keys::{KeySecret, KeyStore},
    kubernetes::told,
    leader::Candidate,
    provision::{Followed, Provisioner},
    source::kubernetes::{self, Settings},
    status::Writer,
    telemetry::Instruments,
    translate::{CONTROLLER_NAME, Options},
};

/// Where a pod finds its own namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The cluster, and this replica's place in it.
pub(super) struct Cluster {
    client: Client,
    settings: Kubernetes,
    namespace: String,
}

impl Cluster {
    /// Finds the API server from within a pod, or by KUBECONFIG.
    pub(super) async fn find(settings: Kubernetes) -> anyhow::Result<Self> {
        let config = Config::infer().await.context(
            "no cluster: neither a pod's ServiceAccount nor a usable KUBECONFIG was found",
        )?;
        let own = || {
            fs::read_to_string(NAMESPACE_FILE)
                .ok()
                .map(|name| name.trim().to_owned())
        };
        let given = settings.namespace.clone().filter(|name| !name.is_empty());
        let namespace = given
            .or_else(own)
            .unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.clone();
        let client = Client::try_from(config).map_err(|error| anyhow!("{}", told(&error)))?;
        info!(%server, namespace, "resources come from a cluster");
        Ok(Self {
            client,
            settings,
            namespace,
        })
    }

    /// The API server, and the namespace of what is Tidegate's own.
    pub(super) fn address(&self) -> (Client, String) {
        (self.client.clone(), self.namespace.clone())
    }

    /// The keys that all replicas share.
    pub(super) async fn keys(&self) -> anyhow::Result<KeyStore> {
        let secret = KeySecret::new(self.client.clone(), &self.namespace);
        Ok(KeyStore::shared(secret, unix_millis()).await?)
    }

    /// Spawns everything: reading, translating, leading, writing. Returns whether this
    /// replica leads.
    pub(super) fn spawn(
        self,
        tasks: &mut JoinSet<anyhow::Error>,
        fleet: &Arc<Fleet>,
        keys: &Arc<KeyStore>,
        stopping: watch::Receiver<bool>,
        instruments: &Instruments,
        mut bundle: watch::Receiver<String>,
    ) -> watch::Receiver<bool> {
        let controller = self.settings.controller_name.clone();
        let options = Options {
            controller_name: controller.unwrap_or_else(|| CONTROLLER_NAME.to_owned()),
            bind_addresses: false,
            provisioned: true,
            ..Options::default()
        };
        let settings = Settings {
            namespaces: self.settings.watch_namespaces.clone(),
        };
        let watched = kubernetes::watch(self.client.clone(), settings, instruments.clone());
        let candidate = Candidate::new(
            self.client.clone(),
            &self.namespace,
            identity(),
            instruments.leader.clone(),
        );
        let leads = candidate.leads();
        tasks.spawn(candidate.run(stopping));
        let provisioner = Provisioner::new(
            self.client.clone(),
            options.controller_name.clone(),
            Arc::clone(fleet),
            instruments.clone(),
        );
        let provision = self.settings.provision.clone();
        let (namespace, controller) = (self.namespace.clone(), options.controller_name.clone());
        let settings = move |bundle: String| provision.settings(&namespace, &controller, bundle);
        let (following, leading) = (fleet.configurations(), leads.clone());
        tasks.spawn(async move {
            let first = bundle.borrow_and_update().clone();
            let (sender, receiver) = watch::channel(settings(first));
            let followed = Followed {
                configuration: following,
                settings: receiver,
                leading,
            };
            let renew = async {
                while bundle.changed().await.is_ok() {
                    let renewed = bundle.borrow_and_update().clone();
                    sender.send_replace(settings(renewed));
                }
            };
            tokio::select! {
                gone = provisioner.run(followed) => gone,
                () = renew => anyhow!("the certificate authority is gone"),
            }
        });
        let writer = Writer::new(
            self.client,
            options.controller_name.clone(),
            watched.statuses,
            Arc::clone(fleet),
            leads.clone(),
            instruments.clone(),
        );
        tasks.spawn(writer.run());
        let following = Arc::clone(keys);
        tasks.spawn(async move {
            following.follow().await;
            anyhow!("the keys are not followed any more")
        });
        let (fleet, keys, mut sourced) = (Arc::clone(fleet), keys.watch(), watched.sourced);
        tasks.spawn(async move {
            let ended = || anyhow!("the cluster is not watched any more");
            let Ok(Some(first)) = sourced
                .wait_for(Option::is_some)
                .await
                .map(|first| first.clone())
            else {
                return ended();
            };
            let (sender, receiver) = watch::channel(first);
            let forward = async {
                while sourced.changed().await.is_ok() {
                    if let Some(next) = sourced.borrow_and_update().clone() {
                        sender.send_replace(next);
                    }
                }
            };
            tokio::select! {
                error = publish(fleet, receiver, keys, options) => error,
                () = forward => ended(),
            }
        });
        leads
    }
}

/// Another one for each run: a restart must not take its predecessor's Lease for its own.
fn identity() -> String {
    let host = std::env::var("HOSTNAME")
        .ok()
        .filter(|name| !name.is_empty());
    format!(
        "{}_{:08x}",
        host.as_deref().unwrap_or("controlplane"),
        rand::random::<u32>()
    )
}
