//! Reading: a page of what matches, newest first.

use prost::Message;
use sqlx::{QueryBuilder, Row, Sqlite};
use tidegate_proto::v1;

use super::{AuditStore, StoreError, append::octets, integer};
use crate::selector::Selector;

/// Which records.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// What the connection must have been.
    pub selector: Selector,
    /// Exact connection id.
    pub connection_id: Option<String>,
    /// Only records with a smaller id. 0: the newest.
    pub before: u64,
    /// Most records in the page.
    pub limit: u32,
}

impl AuditStore {
    /// One page, with the number of all records that match and where the next one begins.
    pub async fn page(&self, query: &Query) -> Result<v1::ListAuditResponse, StoreError> {
        // Both statements see one state of the history.
        let mut transaction = self.readers.begin().await?;
        let mut count = QueryBuilder::new("SELECT COUNT(*) FROM audit WHERE TRUE");
        push_conditions(&mut count, query);
        let total: i64 = count
            .build_query_scalar()
            .fetch_one(&mut *transaction)
            .await?;

        let mut select =
            QueryBuilder::new("SELECT id, received_at_ms, record FROM audit WHERE TRUE");
        push_conditions(&mut select, query);
        if query.before != 0 {
            select.push(" AND id < ").push_bind(integer(query.before));
        }
        // One more than asked for tells whether there is another page.
        select
            .push(" ORDER BY id DESC LIMIT ")
            .push_bind(i64::from(query.limit) + 1);
        let rows = select.build().fetch_all(&mut *transaction).await?;
        transaction.commit().await?;

        let limit = query.limit as usize;
        let records = rows
            .iter()
            .take(limit)
            .map(decode)
            .collect::<Result<Vec<_>, _>>()?;
        let next = match records.last() {
            Some(last) if rows.len() > limit => last.id,
            _ => 0,
        };
        Ok(v1::ListAuditResponse {
            records,
            next,
            total: total.unsigned_abs(),
        })
    }
}

fn push_conditions(sql: &mut QueryBuilder<Sqlite>, query: &Query) {
    let Selector {
        server_name,
        peer,
        listener,
        min_age_ms,
        max_age_ms,
        alpn,
    } = &query.selector;
    for (column, wanted) in [
        ("connection_id", &query.connection_id),
        ("server_name", server_name),
        ("listener", listener),
        ("alpn", alpn),
    ] {
        if let Some(wanted) = wanted {
            sql.push(" AND ")
                .push(column)
                .push(" = ")
                .push_bind(wanted.clone());
        }
    }
    if let Some(least) = min_age_ms {
        sql.push(" AND age_ms >= ").push_bind(integer(*least));
    }
    if let Some(most) = max_age_ms {
        sql.push(" AND age_ms <= ").push_bind(integer(*most));
    }
    if let Some(range) = peer {
        let (first, last) = (octets(range.first()), octets(range.last()));
        // Of equal length only: IPv4 blobs sort among IPv6 ones.
        sql.push(" AND length(peer) = ")
            .push_bind(first.len() as i64);
        sql.push(" AND peer BETWEEN ")
            .push_bind(first)
            .push(" AND ")
            .push_bind(last);
    }
}

fn decode(row: &sqlx::sqlite::SqliteRow) -> Result<v1::AuditRecord, StoreError> {
    let id: i64 = row.try_get("id")?;
    let connection = v1::Connection::decode(row.try_get::<&[u8], _>("record")?)
        .map_err(|source| StoreError::Damaged { id, source })?;
    Ok(v1::AuditRecord {
        id: id.unsigned_abs(),
        received_at_ms: row.try_get("received_at_ms")?,
        connection: Some(connection),
    })
}
