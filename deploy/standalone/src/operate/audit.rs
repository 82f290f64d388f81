//! `tidegate audit`: records of ended connections, newest first.

use tidegate_controlplane::api::types::{AuditList, AuditRecord};

use super::{
    Output,
    connections::render::{why, word},
    print, print_json,
    selector::SelectorArgs,
    table::{or_dash, table},
};
use crate::{
    admin::{AdminArgs, AdminClient, AdminError, Query},
    units,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub admin: AdminArgs,
    #[command(flatten)]
    pub selector: SelectorArgs,
    /// The record of this connection
    #[arg(long, value_name = "ID")]
    pub connection_id: Option<String>,
    /// So many records, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Only records before this number: the next page
    #[arg(long, value_name = "N")]
    pub before: Option<u64>,
}

/// # Errors
/// Any [`AdminError`].
pub async fn run(args: Args) -> Result<(), AdminError> {
    let api = AdminClient::new(&args.admin)?;
    let query = Query::path(&["v1", "audit"])
        .with("limit", args.limit)
        .with("before", args.before.unwrap_or(0))
        .with("connection_id", args.connection_id.unwrap_or_default());
    let value = api.fetch_json(&args.selector.on(query)).await?;
    if args.admin.output == Output::Json {
        print_json(&value);
        return Ok(());
    }
    let page: AuditList = api.typed(value)?;
    print(&render(&page.records));
    if page.next != 0 {
        eprintln!(
            "{} records in all; the next page: --before {}",
            page.total, page.next
        );
    }
    Ok(())
}

fn render(records: &[AuditRecord]) -> String {
    let headings = [
        ">RECORD",
        "CONNECTION",
        "PEER",
        "SERVER NAME",
        "ALPN",
        "BEGAN",
        ">LIFE",
        ">HANDSHAKE",
        ">REQUESTS",
        ">SENT",
        ">RECEIVED",
        "CLOSED BY",
    ];
    table(&headings, records.iter().map(row))
}

fn row(record: &AuditRecord) -> Vec<String> {
    let connection = record.connection.clone().unwrap_or_default();
    let tls = connection.tls.unwrap_or_default();
    let stats = connection.stats.unwrap_or_default();
    let audit = connection.audit.unwrap_or_default();
    let handshake = match connection.handshake.unwrap_or_default().elapsed_us {
        0 => "-".into(),
        us => units::micros(us),
    };
    vec![
        record.id.to_string(),
        connection.id,
        connection.peer_address,
        or_dash(&tls.server_name),
        or_dash(&tls.alpn),
        units::timestamp(connection.started_at_ms),
        units::duration(connection.age_ms),
        handshake,
        connection.requests.to_string(),
        units::bytes(stats.bytes_sent),
        units::bytes(stats.bytes_recvd),
        format!("{}{}", word(&audit.closed_by), why(&audit)),
    ]
}

#[cfg(test)]
mod tests {
    use tidegate_controlplane::api::types::{AuditStats, ClosedBy, Connection};

    use super::*;

    #[test]
    fn a_record_says_who_closed_and_with_which_code() {
        let connection = Connection {
            id: "local.0.1.1".into(),
            age_ms: 1_500,
            audit: Some(AuditStats {
                closed_by: ClosedBy::Peer,
                recvd_conn_close_application_error_code: Some(0x100),
                ..Default::default()
            }),
            ..Default::default()
        };
        let record = AuditRecord {
            id: 7,
            connection: Some(connection),
            ..Default::default()
        };
        let text = render(&[record]);
        let row = text.lines().nth(1).expect("a row");
        assert!(row.trim_start().starts_with("7  local.0.1.1"), "{text}");
        assert!(
            row.ends_with("peer, received application code 0x100"),
            "{text}"
        );
    }
}
