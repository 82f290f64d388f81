//! `tidegate drain` and `tidegate undrain`, of a dataplane or of a listener.

use std::time::Duration;

use clap::ValueEnum;
use tidegate_controlplane::api::types::{DataplaneList, DrainBody, Drained, ListenerList};

use super::{Output, print, print_json};
use crate::{
    admin::{AdminArgs, AdminClient, Query},
    units,
};

#[derive(Debug, clap::Args)]
pub struct DrainArgs {
    /// What to drain
    #[arg(value_enum)]
    pub kind: Kind,
    /// Which; may be left out where there is only one
    pub id: Option<String>,
    /// Close what is left after this time
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration, default_value = "30s")]
    pub deadline: Duration,
    #[command(flatten)]
    pub admin: AdminArgs,
}

#[derive(Debug, clap::Args)]
pub struct UndrainArgs {
    /// What to end the drain of
    #[arg(value_enum)]
    pub kind: Kind,
    /// Which; may be left out where there is only one
    pub id: Option<String>,
    #[command(flatten)]
    pub admin: AdminArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A whole dataplane
    Dataplane,
    /// A listener, on every dataplane
    Listener,
}

impl Kind {
    fn plural(self) -> &'static str {
        match self {
            Self::Dataplane => "dataplanes",
            Self::Listener => "listeners",
        }
    }
}

/// # Errors
/// The admin API cannot do it, or the id is missing and there is more than one.
pub async fn drain(args: DrainArgs) -> anyhow::Result<()> {
    // Below a millisecond is as soon as possible; 0 would mean the default.
    let deadline_ms = (args.deadline.as_millis() as u64).max(1);
    let body = DrainBody { deadline_ms };
    order(&args.admin, args.kind, args.id, "drain", &body, "draining").await
}

/// # Errors
/// As [`drain`].
pub async fn undrain(args: UndrainArgs) -> anyhow::Result<()> {
    let body = serde_json::json!({});
    order(
        &args.admin,
        args.kind,
        args.id,
        "undrain",
        &body,
        "taking connections again",
    )
    .await
}

async fn order(
    admin: &AdminArgs,
    kind: Kind,
    id: Option<String>,
    action: &str,
    body: &impl serde::Serialize,
    outcome: &str,
) -> anyhow::Result<()> {
    let api = AdminClient::new(admin)?;
    let id = match id {
        Some(id) => id,
        None => the_only_one(&api, kind).await?,
    };
    let value = api
        .post(&Query::path(&["v1", kind.plural(), &id, action]), body)
        .await?;
    if admin.output == Output::Json {
        print_json(&value);
    } else {
        let drained: Drained = api.typed(value)?;
        print(&format!(
            "{id}: {outcome} on {}\n",
            drained.dataplanes.join(", ")
        ));
    }
    Ok(())
}

async fn the_only_one(api: &AdminClient, kind: Kind) -> anyhow::Result<String> {
    let query = Query::path(&["v1", kind.plural()]);
    let mut ids: Vec<String> = match kind {
        Kind::Dataplane => {
            let list: DataplaneList = api.fetch(&query).await?;
            list.dataplanes
                .into_iter()
                .filter_map(|d| d.hello)
                .map(|h| h.dataplane_id)
                .collect()
        }
        Kind::Listener => {
            let list: ListenerList = api.fetch(&query).await?;
            list.listeners
                .into_iter()
                .map(|listener| listener.id)
                .collect()
        }
    };
    match ids.len() {
        1 => Ok(ids.remove(0)),
        0 => anyhow::bail!("there are no {}", kind.plural()),
        _ => anyhow::bail!("which one? There are: {}", ids.join(", ")),
    }
}
