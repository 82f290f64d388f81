//! The audit history: one record for each connection that ended, in SQLite.
//!
//! Owns `audit.db` in the state folder. A report is stored whole in one transaction
//! before `fleet::report` acknowledges it, and what a dataplane sends again is known by
//! its sequence number, so a record is neither lost nor doubled. The history is bounded
//! by count; what leaves it is counted. `api` reads it, page by page.

mod append;
mod page;

use std::{path::Path, time::Duration};

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub use self::{append::Appended, page::Query};
use crate::private_file;

/// Time that a statement waits for another one's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Reads that run at once; none waits for the writer.
const READERS: u32 = 4;

/// Why the history cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed: disk full, file damaged, and the like.
    #[error("the audit database: {0}")]
    Database(#[from] sqlx::Error),
    /// The file was made by a newer version, or is damaged.
    #[error("the audit database: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A stored record does not decode.
    #[error("audit record {id} is damaged: {source}")]
    Damaged {
        /// The record.
        id: i64,
        /// What the decoder said.
        source: prost::DecodeError,
    },
}

/// The history on disk.
pub struct AuditStore {
    /// One connection: SQLite has one writer at a time, so waiting happens here.
    writer: SqlitePool,
    readers: SqlitePool,
    /// Most records that are kept.
    bound: u64,
}

impl AuditStore {
    /// Opens `audit.db` in `folder`, or makes it. The newest `bound` records are kept.
    pub async fn open(folder: &Path, bound: u64) -> Result<Self, StoreError> {
        let path = folder.join("audit.db");
        // It tells who visited; SQLite gives its other files the same mode.
        private_file::make(&path).map_err(sqlx::Error::Io)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // An acknowledged record survives a power cut too.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await?;
        sqlx::migrate!("src/store/migrations").run(&writer).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true))
            .await?;
        Ok(Self {
            writer,
            readers,
            bound: bound.max(1),
        })
    }

    /// Waits for what runs, then closes the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// SQLite's integers are signed; a number above is one that no honest peer sends.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
