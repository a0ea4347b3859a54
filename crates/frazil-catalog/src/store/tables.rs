//! Statements about tables and their metadata pointers.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Page, PageRequest, Store, StoreError, namespaces};
use crate::names::{Namespace, TableKey};

/// One pointer to be moved.
#[derive(Debug, Clone)]
pub(crate) struct Swap {
    pub(crate) key: TableKey,
    /// The pointer the change was made for; `None`: the table must not exist.
    pub(crate) old: Option<String>,
    pub(crate) new: String,
}

/// Definite outcome of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Swapped {
    /// All pointers were moved, durably.
    Done,
    /// Nothing was changed: this table's pointer is not what the change was made for.
    Lost(TableKey),
}

impl Store {
    pub(crate) fn list_tables(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page, StoreError> {
        let connection = self.read();
        namespaces::require(&connection, namespace)?;
        let mut statement =
            connection.prepare("SELECT name FROM tables WHERE namespace = ?1 AND name > ?2 ORDER BY name LIMIT ?3")?;
        let rows = statement.query_map(params![namespace.joined(), page.after, page.sql_limit()], |row| row.get(0))?;
        Ok(page.page(rows.collect::<Result<_, _>>()?))
    }

    /// Location of the table's current metadata file.
    pub(crate) fn pointer(&self, key: &TableKey) -> Result<Option<String>, StoreError> {
        pointer(&self.read(), key)
    }

    /// Fails unless a table of this name could be created.
    pub(crate) fn require_free(&self, key: &TableKey) -> Result<(), StoreError> {
        let connection = self.read();
        namespaces::require(&connection, &key.namespace)?;
        match pointer(&connection, key)? {
            Some(_) => Err(StoreError::TableExists(key.clone())),
            None => Ok(()),
        }
    }

    /// Adds a table.
    pub(crate) fn insert_table(&self, key: &TableKey, metadata_location: &str) -> Result<(), StoreError> {
        self.write(|transaction| {
            namespaces::require(transaction, &key.namespace)?;
            if insert(transaction, key, metadata_location)? {
                Ok(())
            } else {
                Err(StoreError::TableExists(key.clone()))
            }
        })
    }

    /// Moves all pointers or none. An error leaves the outcome open (a failed `COMMIT` may reach the disk).
    pub(crate) fn swap(&self, swaps: &[Swap]) -> Result<Swapped, StoreError> {
        let mut lost = None;
        let outcome = self.write(|transaction| {
            for swap in swaps {
                if !swap_one(transaction, swap)? {
                    lost = Some(swap.key.clone());
                    // Any error rolls back; this one is turned into an answer below.
                    return Err(StoreError::NoSuchTable(swap.key.clone()));
                }
            }
            Ok(())
        });
        match (lost, outcome) {
            (Some(key), _) => Ok(Swapped::Lost(key)),
            (None, Ok(())) => Ok(Swapped::Done),
            (None, Err(error)) => Err(error),
        }
    }

    pub(crate) fn rename_table(&self, source: &TableKey, destination: &TableKey) -> Result<(), StoreError> {
        self.write(|transaction| {
            if pointer(transaction, source)?.is_none() {
                return Err(StoreError::NoSuchTable(source.clone()));
            }
            namespaces::require(transaction, &destination.namespace)?;
            if pointer(transaction, destination)?.is_some() {
                return Err(StoreError::TableExists(destination.clone()));
            }
            transaction.execute(
                "UPDATE tables SET namespace = ?3, name = ?4 WHERE namespace = ?1 AND name = ?2",
                params![
                    source.namespace.joined(),
                    source.name.as_str(),
                    destination.namespace.joined(),
                    destination.name.as_str()
                ],
            )?;
            Ok(())
        })
    }

    /// Forgets a table; its files stay.
    pub(crate) fn drop_table(&self, key: &TableKey) -> Result<(), StoreError> {
        self.write(|transaction| {
            let dropped = transaction.execute(
                "DELETE FROM tables WHERE namespace = ?1 AND name = ?2",
                params![key.namespace.joined(), key.name.as_str()],
            )?;
            if dropped == 0 { Err(StoreError::NoSuchTable(key.clone())) } else { Ok(()) }
        })
    }

    /// Keeps the locations that no table points to.
    pub(crate) fn unreferenced(&self, locations: Vec<String>) -> Result<Vec<String>, StoreError> {
        let connection = self.read();
        let mut statement = connection.prepare("SELECT EXISTS (SELECT 1 FROM tables WHERE metadata_location = ?1)")?;
        let mut free = Vec::with_capacity(locations.len());
        for location in locations {
            let referenced: bool = statement.query_row(params![location], |row| row.get(0))?;
            if !referenced {
                free.push(location);
            }
        }
        Ok(free)
    }
}

fn pointer(connection: &Connection, key: &TableKey) -> Result<Option<String>, StoreError> {
    let mut statement =
        connection.prepare("SELECT metadata_location FROM tables WHERE namespace = ?1 AND name = ?2")?;
    Ok(statement.query_row(params![key.namespace.joined(), key.name.as_str()], |row| row.get(0)).optional()?)
}

/// `false` if the name is taken.
fn insert(transaction: &Transaction<'_>, key: &TableKey, metadata_location: &str) -> Result<bool, StoreError> {
    let inserted = transaction.execute(
        "INSERT INTO tables (namespace, name, metadata_location) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        params![key.namespace.joined(), key.name.as_str(), metadata_location],
    )?;
    Ok(inserted == 1)
}

/// The compare-and-swap. `false` if the pointer is not the expected one.
fn swap_one(transaction: &Transaction<'_>, swap: &Swap) -> Result<bool, StoreError> {
    let Some(old) = &swap.old else {
        namespaces::require(transaction, &swap.key.namespace)?;
        return insert(transaction, &swap.key, &swap.new);
    };
    let moved = transaction.execute(
        "UPDATE tables SET metadata_location = ?4, previous_metadata_location = ?3
         WHERE namespace = ?1 AND name = ?2 AND metadata_location = ?3",
        params![swap.key.namespace.joined(), swap.key.name.as_str(), old, swap.new],
    )?;
    Ok(moved == 1)
}
