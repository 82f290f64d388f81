//! Writing: one report, one transaction.

use std::net::IpAddr;

use prost::Message;
use sqlx::SqliteConnection;
use tidegate_proto::v1::{self, record::Kind};

use super::{AuditStore, StoreError, integer};
use crate::selector;

/// Runs of dataplanes whose progress is remembered. One that has been silent while so
/// many others began will send nothing again.
const REMEMBERED_RUNS: i64 = 10_000;

/// What became of a report.
#[derive(Debug, Default)]
pub struct Appended {
    /// Records that were not known yet, in order.
    pub fresh: Vec<v1::Record>,
    /// Records that were sent again.
    pub duplicates: u64,
    /// Records that left the history to keep its bound.
    pub expired: u64,
    /// Every record of this run up to here is stored.
    pub sequence: u64,
}

impl AuditStore {
    /// Stores a report whole. Once this returns, it may be acknowledged; on an error
    /// nothing of it is stored.
    pub async fn append(
        &self,
        report: v1::ReportBatch,
        now_ms: i64,
    ) -> Result<Appended, StoreError> {
        let v1::ReportBatch {
            dataplane_id,
            instance_id,
            records,
        } = report;
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let stored = progress(&mut transaction, &dataplane_id, &instance_id).await?;
        let mut appended = Appended {
            sequence: stored,
            ..Appended::default()
        };
        for record in records {
            if record.sequence <= appended.sequence {
                appended.duplicates += 1;
                continue;
            }
            appended.sequence = record.sequence;
            if let Some(Kind::Closed(connection)) = &record.kind {
                let run = Run {
                    dataplane: &dataplane_id,
                    instance: &instance_id,
                };
                insert(&mut transaction, run, record.sequence, connection, now_ms).await?;
            }
            appended.fresh.push(record);
        }
        if appended.sequence > stored {
            let run = Run {
                dataplane: &dataplane_id,
                instance: &instance_id,
            };
            remember(&mut transaction, run, appended.sequence, now_ms).await?;
            appended.expired = expire(&mut transaction, self.bound).await?;
        }
        transaction.commit().await?;
        Ok(appended)
    }
}

#[derive(Clone, Copy)]
struct Run<'a> {
    dataplane: &'a str,
    instance: &'a str,
}

async fn progress(
    connection: &mut SqliteConnection,
    dataplane: &str,
    instance: &str,
) -> Result<u64, StoreError> {
    let stored: Option<i64> =
        sqlx::query_scalar("SELECT sequence FROM progress WHERE dataplane = ? AND instance = ?")
            .bind(dataplane)
            .bind(instance)
            .fetch_optional(connection)
            .await?;
    Ok(stored.map_or(0, i64::unsigned_abs))
}

async fn insert(
    transaction: &mut SqliteConnection,
    run: Run<'_>,
    sequence: u64,
    connection: &v1::Connection,
    now_ms: i64,
) -> Result<(), StoreError> {
    let tls = connection.tls.as_ref();
    sqlx::query(
        "INSERT INTO audit (received_at_ms, dataplane, instance, sequence, connection_id, \
         server_name, listener, alpn, age_ms, peer, record) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (dataplane, instance, sequence) DO NOTHING",
    )
    .bind(now_ms)
    .bind(run.dataplane)
    .bind(run.instance)
    .bind(integer(sequence))
    .bind(&connection.id)
    .bind(tls.map_or("", |tls| &tls.server_name))
    .bind(&connection.listener_id)
    .bind(tls.map_or("", |tls| &tls.alpn))
    .bind(integer(connection.age_ms))
    .bind(
        selector::host(&connection.peer_address)
            .map(octets)
            .unwrap_or_default(),
    )
    .bind(connection.encode_to_vec())
    .execute(transaction)
    .await?;
    Ok(())
}

async fn remember(
    transaction: &mut SqliteConnection,
    run: Run<'_>,
    sequence: u64,
    now_ms: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO progress (dataplane, instance, sequence, updated_at_ms) VALUES (?, ?, ?, ?) \
         ON CONFLICT (dataplane, instance) \
         DO UPDATE SET sequence = excluded.sequence, updated_at_ms = excluded.updated_at_ms",
    )
    .bind(run.dataplane)
    .bind(run.instance)
    .bind(integer(sequence))
    .bind(now_ms)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "DELETE FROM progress WHERE updated_at_ms < \
         (SELECT updated_at_ms FROM progress ORDER BY updated_at_ms DESC LIMIT 1 OFFSET ?)",
    )
    .bind(REMEMBERED_RUNS)
    .execute(transaction)
    .await?;
    Ok(())
}

/// Ids grow by one, so the bound is a distance from the newest and costs no count.
async fn expire(transaction: &mut SqliteConnection, bound: u64) -> Result<u64, StoreError> {
    let deleted = sqlx::query("DELETE FROM audit WHERE id <= (SELECT MAX(id) FROM audit) - ?")
        .bind(integer(bound))
        .execute(transaction)
        .await?;
    Ok(deleted.rows_affected())
}

/// An address as the history keeps it.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
