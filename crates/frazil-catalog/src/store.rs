//! Names, properties and metadata pointers in SQLite. Owns every SQL statement and every transaction.
//!
//! All functions block: call them on the blocking pool, never around object-store I/O. One connection writes and one
//! reads; the write-ahead log lets the reader see the last committed state while a write waits for the disk.
//! `synchronous=FULL`: a transaction that was reported committed survives power loss.

mod namespaces;
mod schema;
mod tables;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::config::OpenError;
use crate::names::{Namespace, TableKey};

pub(crate) use namespaces::{Properties, PropertiesChanged};
pub(crate) use tables::{Swap, Swapped};

/// How long a statement waits for another process that holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("namespace {0} does not exist")]
    NoSuchNamespace(Namespace),
    #[error("namespace {0} exists already")]
    NamespaceExists(Namespace),
    #[error("namespace {0} is not empty")]
    NamespaceNotEmpty(Namespace),
    #[error("table {0} does not exist")]
    NoSuchTable(TableKey),
    #[error("table {0} exists already")]
    TableExists(TableKey),
    #[error("the catalog database holds an invalid value: {0}")]
    Corrupt(String),
    #[error("catalog database: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// One page of a listing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) names: Vec<String>,
    /// Pass as `after` for the next page; `None` on the last one.
    pub(crate) next: Option<String>,
}

/// Which part of a listing is wanted: names greater than `after`, at most `limit`.
#[derive(Debug, Clone, Default)]
pub(crate) struct PageRequest {
    pub(crate) after: String,
    /// `None`: all of them.
    pub(crate) limit: Option<u32>,
}

impl PageRequest {
    /// One more than wanted, to know whether there is a next page. SQLite reads -1 as "no limit".
    fn sql_limit(&self) -> i64 {
        self.limit.map_or(-1, |limit| i64::from(limit) + 1)
    }

    fn page(&self, mut names: Vec<String>) -> Page {
        let limit = self.limit.map_or(usize::MAX, |limit| limit as usize);
        let more = names.len() > limit;
        names.truncate(limit);
        let next = if more { names.last().cloned() } else { None };
        Page { names, next }
    }
}

/// The open database.
#[derive(Debug)]
pub(crate) struct Store {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

impl Store {
    pub(crate) fn open(database: &Path) -> Result<Self, OpenError> {
        let mut writer = connect(database).map_err(|error| OpenError::database(database, error))?;
        schema::prepare(&mut writer, database)?;
        let reader = connect(database).map_err(|error| OpenError::database(database, error))?;
        Ok(Self { writer: Mutex::new(writer), reader: Mutex::new(reader) })
    }

    fn read(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in one write transaction. `Ok` is only returned after SQLite confirmed the `COMMIT`.
    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut connection = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // An error drops the transaction, which rolls it back.
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }
}

fn connect(database: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(StoreError::Corrupt(format!("journal mode is {mode}, not WAL")));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

#[cfg(test)]
mod tests;
