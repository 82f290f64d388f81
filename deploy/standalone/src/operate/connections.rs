//! `tidegate connections`: list, show, watch and close.

use clap::{ArgGroup, Subcommand};
use serde_json::Value;
use tidegate_controlplane::api::types::{
    CloseBehaviour, CloseSelected, Closed, Connection, ConnectionList, Lagged,
};

use super::{Output, print, print_json, selector::SelectorArgs};
use crate::{
    admin::{AdminArgs, AdminClient, AdminError, Query},
    units,
};

mod capture;
pub mod render;

/// Most connections that the API puts on a page.
const PAGE: u32 = 1_000;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub admin: AdminArgs,
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Debug, Subcommand)]
pub enum Action {
    /// Live connections
    List(ListArgs),
    /// One connection whole: path, loss, congestion window, TLS, handshake
    Show {
        /// As in the first column of the list
        id: String,
    },
    /// Handshakes and closes as they happen
    Watch {
        #[command(flatten)]
        selector: SelectorArgs,
    },
    /// What happens on one connection, packet by packet, as qlog
    Qlog(capture::QlogArgs),
    /// TLS secrets of the next connections, with which recorded packets can be read
    Keylog(capture::KeyLogArgs),
    /// Close one connection, or all that match
    Close(CloseArgs),
}

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    selector: SelectorArgs,
    /// Stop after so many; 0 lists all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// Begin after this connection id
    #[arg(long, value_name = "ID")]
    after: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("which").required(true).args(["id", "all_matching"]))]
pub struct CloseArgs {
    /// The connection
    #[arg(conflicts_with = "selector")]
    id: Option<String>,
    /// Every connection that the filters match
    #[arg(long, requires = "selector")]
    all_matching: bool,
    #[command(flatten)]
    selector: SelectorArgs,
    /// Error code that the client is told [default: 256 (H3_NO_ERROR), with --transport 0]
    #[arg(long, value_name = "CODE", value_parser = error_code)]
    code: Option<u64>,
    /// Reason that the client is told
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    /// A transport close (CONNECTION_CLOSE 0x1c) rather than an application one (0x1d)
    #[arg(long)]
    transport: bool,
}

/// Decimal, or hexadecimal with `0x`, as the RFCs write them.
fn error_code(text: &str) -> Result<u64, String> {
    let code = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    match code {
        Ok(code) if code < 1 << 62 => Ok(code),
        _ => Err("expected a number below 2^62, such as 256 or 0x100".into()),
    }
}

/// # Errors
/// Any [`AdminError`].
pub async fn run(args: Args) -> Result<(), AdminError> {
    let api = AdminClient::new(&args.admin)?;
    let output = args.admin.output;
    match args.action {
        Action::List(list) => {
            let value = fetch_pages(&api, &list).await?;
            if output == Output::Json {
                print_json(&value);
            } else {
                let page: ConnectionList = api.typed(value)?;
                print(&render::list(&page.connections));
                if !page.next.is_empty() {
                    eprintln!("there are more: --limit 0 lists all");
                }
            }
        }
        Action::Show { id } => {
            let value = api
                .fetch_json(&Query::path(&["v1", "connections", &id]))
                .await?;
            if output == Output::Json {
                print_json(&value);
            } else {
                print(&render::whole(&api.typed(value)?));
            }
        }
        Action::Watch { selector } => watch(&api, &selector, output).await?,
        Action::Qlog(args) => capture::qlog(&api, args).await?,
        Action::Keylog(args) => capture::key_log(&api, args).await?,
        Action::Close(close) => {
            let value = send_close(&api, &close).await?;
            if output == Output::Json {
                print_json(&value);
            } else {
                let closed: Closed = api.typed(value)?;
                print(&format!(
                    "closed {}\n",
                    units::count(closed.count, "connection")
                ));
            }
        }
    }
    Ok(())
}

/// As many pages as it takes, joined into one.
async fn fetch_pages(api: &AdminClient, list: &ListArgs) -> Result<Value, AdminError> {
    let most = if list.limit == 0 {
        usize::MAX
    } else {
        list.limit as usize
    };
    let mut after = list.after.clone().unwrap_or_default();
    let mut connections: Vec<Value> = Vec::new();
    loop {
        let limit = (most - connections.len()).min(PAGE as usize);
        let query = list.selector.on(Query::path(&["v1", "connections"]));
        let mut page = api
            .fetch_json(&query.with("limit", limit).with("after", &after))
            .await?;
        if let Some(more) = page["connections"].as_array_mut() {
            connections.append(more);
        }
        after = page["next"].as_str().unwrap_or_default().to_owned();
        if after.is_empty() || connections.len() >= most {
            return Ok(serde_json::json!({ "connections": connections, "next": after }));
        }
    }
}

async fn watch(
    api: &AdminClient,
    selector: &SelectorArgs,
    output: Output,
) -> Result<(), AdminError> {
    let mut events = api
        .events(&selector.on(Query::path(&["v1", "events"])))
        .await?;
    while let Some(event) = events.next().await? {
        let value: Value = serde_json::from_str(&event.data)
            .map_err(|e| AdminError::Broken(format!("event `{}`: {e}", event.name)))?;
        if output == Output::Json {
            print(&format!(
                "{}\n",
                serde_json::json!({ "event": event.name, "data": value })
            ));
        } else if event.name == "lagged" {
            let lagged: Lagged = api.typed(value)?;
            eprintln!(
                "{} events were lost: this terminal reads too slowly",
                lagged.lost
            );
        } else {
            let connection: Connection = api.typed(value)?;
            print(&render::event(&event.name, &connection));
        }
    }
    Err(AdminError::Broken("it ended the stream of events".into()))
}

async fn send_close(api: &AdminClient, close: &CloseArgs) -> Result<Value, AdminError> {
    let behaviour = CloseBehaviour {
        send_application_close: !close.transport,
        error_code: close.code,
        reason: close.reason.clone(),
    };
    match &close.id {
        Some(id) => {
            api.post(
                &Query::path(&["v1", "connections", id, "close"]),
                &behaviour,
            )
            .await
        }
        None => {
            let selected = CloseSelected {
                selector: close.selector.selector(),
                behaviour,
            };
            api.post(&Query::path(&["v1", "connections", "close"]), &selected)
                .await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_are_decimal_or_hexadecimal_and_fit_a_varint() {
        assert_eq!(error_code("256"), Ok(256));
        assert_eq!(error_code("0x10b"), Ok(0x10b));
        for text in ["", "-1", "0x", "4611686018427387904", "H3_NO_ERROR"] {
            assert!(error_code(text).is_err(), "{text}");
        }
    }
}
