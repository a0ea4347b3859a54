//! The database schema and its versions (`user_version`).

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;
use crate::config::OpenError;

/// Marks the file as ours: "FRZL".
const APPLICATION_ID: i64 = 0x4652_5a4c;
/// Schema version written by this program.
const VERSION: i64 = 1;

/// `path` is the levels joined by U+001F. Foreign keys without an action refuse to drop what is still in use.
const VERSION_1: &str = "
CREATE TABLE namespaces (
    path TEXT NOT NULL PRIMARY KEY,
    parent TEXT REFERENCES namespaces (path),
    name TEXT NOT NULL,
    properties TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX namespaces_by_parent ON namespaces (parent, name);
CREATE TABLE tables (
    namespace TEXT NOT NULL REFERENCES namespaces (path),
    name TEXT NOT NULL,
    metadata_location TEXT NOT NULL,
    previous_metadata_location TEXT,
    PRIMARY KEY (namespace, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX tables_by_metadata_location ON tables (metadata_location);
";

/// Brings an empty file to the current schema; refuses files that are not ours or are newer.
pub(super) fn prepare(connection: &mut Connection, database: &Path) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::database(database, StoreError::from(error));
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let pragma = |name: &str| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed);
    let application = pragma("application_id")?;
    let version = pragma("user_version")?;
    let objects: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    if application == 0 && version == 0 && objects == 0 {
        transaction.execute_batch(VERSION_1).map_err(failed)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        transaction.pragma_update(None, "user_version", VERSION).map_err(failed)?;
    } else if application != APPLICATION_ID {
        return Err(OpenError::ForeignDatabase { database: database.to_owned() });
    } else if version > VERSION {
        return Err(OpenError::NewerDatabase { database: database.to_owned(), found: version, known: VERSION });
    }
    transaction.commit().map_err(failed)
}
