//! Where certificates and permissions come from: a shared token, or the cluster.

use std::{path::Path, sync::Arc};

use anyhow::{Context, ensure};
use kube::Client;

use crate::{
    api::{Access, Cluster},
    fleet::Fleet,
    private_file, provision,
    serve::Trusted,
    trust::{
        ApiTokens, Authority, FileVault, GatewayOf, PodTokens, SecretVault, ServiceAccount,
        SharedToken,
    },
};

/// Dataplanes show the token in `file`; the roots are in the state folder.
pub(super) async fn by_token(
    file: &Path,
    state: &Path,
    names: Vec<String>,
) -> anyhow::Result<Trusted> {
    let shown = file.display();
    let token = private_file::read(file)
        .with_context(|| format!("session-token-file: cannot read {shown}"))?
        .with_context(|| format!("session-token-file: {shown} is not there"))?;
    ensure!(
        token.trim().len() >= SHORTEST_TOKEN,
        "session-token-file: the token in {shown} is too short: give at least {SHORTEST_TOKEN} \
         characters, such as `openssl rand -hex 32` makes"
    );
    Ok(Trusted {
        authority: Authority::open(Arc::new(FileVault::new(state.to_owned()))).await?,
        reviewer: Arc::new(SharedToken::new(&token)),
        names,
    })
}

/// Dataplanes show their pods' tokens; the roots are in a Secret in `namespace`.
pub(super) async fn by_cluster(
    client: Client,
    namespace: &str,
    names: Vec<String>,
    fleet: Arc<Fleet>,
) -> anyhow::Result<Trusted> {
    let gateway_of: GatewayOf = Arc::new(move |account| gateway_of(&fleet, account));
    let vault = SecretVault::new(client.clone(), namespace);
    Ok(Trusted {
        authority: Authority::open(Arc::new(vault)).await?,
        reviewer: Arc::new(PodTokens::new(Arc::new(ApiTokens(client)), gateway_of)),
        names,
    })
}

/// Operators show tokens of the cluster, which says what they may.
pub(super) fn access_by_cluster(client: Client) -> Access {
    Access::Cluster(Arc::new(Cluster::new(Arc::new(ApiTokens(client)))))
}

/// The Gateway whose dataplanes were given this ServiceAccount.
fn gateway_of(fleet: &Fleet, account: &ServiceAccount) -> Option<String> {
    let published = fleet.configuration()?;
    let mut accepted = published.translation.infrastructures.values();
    let own = accepted.find(|needed| {
        needed.gateway.namespace == account.namespace
            && provision::name(&needed.gateway.name, &needed.class) == account.name
    });
    own.map(|needed| needed.gateway.to_string())
}

/// A token that can be guessed is none.
const SHORTEST_TOKEN: usize = 32;
