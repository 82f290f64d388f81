//! `tidegate dataplanes` and `tidegate listeners`.

use tidegate_controlplane::api::types::{DataplaneList, ListenerList};

use super::{
    Output,
    connections::render::word,
    print, print_json,
    table::{or_dash, table, yes_no},
};
use crate::{
    admin::{AdminArgs, AdminClient, AdminError, Query},
    units,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Characters of a version that are shown; `-o json` has them all.
pub const SHORT: usize = 12;

/// # Errors
/// Any [`AdminError`].
pub async fn dataplanes(args: Args) -> Result<(), AdminError> {
    let api = AdminClient::new(&args.admin)?;
    let value = api.fetch_json(&Query::path(&["v1", "dataplanes"])).await?;
    if args.admin.output == Output::Json {
        print_json(&value);
    } else {
        print(&render_dataplanes(&api.typed(value)?));
    }
    Ok(())
}

/// # Errors
/// Any [`AdminError`].
pub async fn listeners(args: Args) -> Result<(), AdminError> {
    let api = AdminClient::new(&args.admin)?;
    let value = api.fetch_json(&Query::path(&["v1", "listeners"])).await?;
    if args.admin.output == Output::Json {
        print_json(&value);
    } else {
        print(&render_listeners(&api.typed(value)?));
    }
    Ok(())
}

fn render_dataplanes(list: &DataplaneList) -> String {
    let headings = [
        "ID",
        "GATEWAY",
        ">SHARDS",
        "SERVES",
        "STATE",
        ">CONNECTIONS",
        ">SPOOLED",
        ">LOST",
        "SINCE",
        "BUILD",
    ];
    let mut text = table(
        &headings,
        list.dataplanes.iter().map(|dataplane| {
            let hello = dataplane.hello.clone().unwrap_or_default();
            let state = dataplane.state.clone().unwrap_or_default();
            let gateway = if hello.gateway.is_empty() {
                "all".to_owned()
            } else {
                hello.gateway.clone()
            };
            let standing = match (&dataplane.nack, state.draining) {
                (_, true) => "draining",
                (Some(_), false) => "refused the newest",
                (None, false) if dataplane.acked_version.is_empty() => "waiting",
                (None, false) => "serving",
            };
            vec![
                hello.dataplane_id,
                gateway,
                hello.shards.to_string(),
                or_dash(short(&dataplane.acked_version)),
                standing.into(),
                state.connections.to_string(),
                state.spooled_records.to_string(),
                state.dropped_records.to_string(),
                units::timestamp(dataplane.connected_at_ms),
                hello.build_version,
            ]
        }),
    );
    for dataplane in &list.dataplanes {
        let id = dataplane
            .hello
            .as_ref()
            .map_or("", |hello| &hello.dataplane_id);
        let nack = dataplane.nack.clone().unwrap_or_default();
        for why in nack.rejections {
            let version = short(&nack.version);
            text += &format!(
                "{id} refused {version}: {} {}: {}\n",
                why.object, why.field, why.message
            );
        }
    }
    text
}

fn render_listeners(list: &ListenerList) -> String {
    let headings = [
        "ID",
        "PROTOCOL",
        ">PORT",
        "HTTP/3",
        "HOST NAME",
        ">CONNECTIONS",
        "STATE",
    ];
    table(
        &headings,
        list.listeners.iter().map(|listener| {
            vec![
                listener.id.clone(),
                word(&listener.protocol),
                listener.port.to_string(),
                yes_no(listener.http3),
                if listener.hostname.is_empty() {
                    "any".into()
                } else {
                    listener.hostname.clone()
                },
                listener.connections.to_string(),
                if listener.draining {
                    "draining".into()
                } else {
                    "serving".into()
                },
            ]
        }),
    )
}

/// The beginning of a version.
#[must_use]
pub fn short(version: &str) -> &str {
    version.get(..SHORT).unwrap_or(version)
}

#[cfg(test)]
mod tests {
    use tidegate_controlplane::api::types::{
        Dataplane, Hello, ListenerSummary, Nack, Protocol, Rejection,
    };

    use super::*;

    fn dataplane() -> Dataplane {
        Dataplane {
            hello: Some(Hello {
                dataplane_id: "local".into(),
                shards: 2,
                ..Default::default()
            }),
            acked_version: "0123456789abcdef".into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_refused_version_is_named_with_its_reasons() {
        let nack = Nack {
            version: "fedcba9876543210".into(),
            rejections: vec![Rejection {
                object: "default/demo/https".into(),
                field: "port".into(),
                message: "already in use".into(),
            }],
        };
        let refused = Dataplane {
            nack: Some(nack),
            ..dataplane()
        };
        let text = render_dataplanes(&DataplaneList {
            dataplanes: vec![refused],
        });
        assert!(text.contains("refused the newest"), "{text}");
        let why = "local refused fedcba987654: default/demo/https port: already in use\n";
        assert!(text.ends_with(why), "{text}");
    }

    #[test]
    fn a_dataplane_that_serves_shows_the_beginning_of_its_version() {
        let text = render_dataplanes(&DataplaneList {
            dataplanes: vec![dataplane()],
        });
        let row: Vec<_> = text
            .lines()
            .nth(1)
            .expect("a row")
            .split_whitespace()
            .collect();
        assert_eq!(row[..5], ["local", "all", "2", "0123456789ab", "serving"]);
    }

    #[test]
    fn listeners_show_protocol_and_state() {
        let listener = ListenerSummary {
            id: "default/demo/https".into(),
            port: 8443,
            protocol: Protocol::Https,
            http3: true,
            draining: true,
            ..Default::default()
        };
        let text = render_listeners(&ListenerList {
            listeners: vec![listener],
        });
        let row: Vec<_> = text
            .lines()
            .nth(1)
            .expect("a row")
            .split_whitespace()
            .collect();
        assert_eq!(
            row,
            [
                "default/demo/https",
                "https",
                "8443",
                "yes",
                "any",
                "0",
                "draining"
            ]
        );
    }
}
