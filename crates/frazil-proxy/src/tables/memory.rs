//! Tables in memory, for tests: the fake beside the real catalogs, with the faults that tests need.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use frazil_core::schema::Schema;
use frazil_core::{Shard, TableName};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{NewTable, TableCommits, TableError, TableShape, TableSource};

/// What every call meets instead of the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableFault {
    /// This error.
    Error(TableError),
    /// No answer, ever.
    Hang,
}

/// A catalog in memory. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryTables {
    name: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    tables: BTreeMap<TableName, TableShape>,
    created: BTreeMap<TableName, NewTable>,
    commits: BTreeMap<(TableName, Shard), TableCommits>,
    fault: Option<TableFault>,
    calls: Calls,
}

/// Calls made so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Tables asked for.
    pub load: usize,
    /// Tables created, or tried to.
    pub create: usize,
    /// Commits asked for.
    pub commits: usize,
}

impl MemoryTables {
    /// An empty catalog of this name.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes or replaces a table, without properties.
    pub fn put(&self, table: &TableName, schema: Schema) {
        self.state().tables.insert(table.clone(), TableShape { schema, ..TableShape::default() });
    }

    /// Sets a property of a table that is there.
    pub fn set_property(&self, table: &TableName, key: &str, value: &str) {
        if let Some(shape) = self.state().tables.get_mut(table) {
            shape.properties.insert(key.to_owned(), value.to_owned());
        }
    }

    /// What a table was created from; nothing if it was put here.
    pub fn created(&self, table: &TableName) -> Option<NewTable> {
        self.state().created.get(table).cloned()
    }

    /// Drops a table.
    pub fn drop_table(&self, table: &TableName) {
        self.state().tables.remove(table);
    }

    /// The schema of a table.
    pub fn get(&self, table: &TableName) -> Option<Schema> {
        self.state().tables.get(table).map(|shape| shape.schema.clone())
    }

    /// Sets what the table contains of a shard.
    pub fn set_commits(&self, table: &TableName, shard: &Shard, commits: TableCommits) {
        self.state().commits.insert((table.clone(), shard.clone()), commits);
    }

    /// Sets or ends the fault that every call meets.
    pub fn set_fault(&self, fault: Option<TableFault>) {
        self.state().fault = fault;
    }

    /// Calls made so far.
    pub fn calls(&self) -> Calls {
        self.state().calls
    }

    /// Counts the call and lets it go on, unless a fault is set.
    async fn enter(&self, count: impl FnOnce(&mut Calls)) -> Result<(), TableError> {
        let fault = {
            let mut state = self.state();
            count(&mut state.calls);
            state.fault.clone()
        };
        // Like a real catalog, never answer at once: single-flight would not be tested otherwise.
        tokio::task::yield_now().await;
        match fault {
            None => Ok(()),
            Some(TableFault::Error(error)) => Err(error),
            Some(TableFault::Hang) => std::future::pending().await,
        }
    }
}

impl TableSource for MemoryTables {
    fn default_catalog(&self) -> &str {
        &self.name
    }

    fn known_catalogs(&self) -> Vec<String> {
        vec![self.name.clone()]
    }

    fn load<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<TableShape, TableError>> {
        async move {
            self.enter(|calls| calls.load += 1).await?;
            self.state().tables.get(table).cloned().ok_or(TableError::Missing)
        }
        .boxed()
    }

    fn create<'a>(&'a self, table: &'a TableName, new: &'a NewTable) -> BoxFuture<'a, Result<(), TableError>> {
        async move {
            self.enter(|calls| calls.create += 1).await?;
            let mut state = self.state();
            if state.tables.contains_key(table) {
                return Err(TableError::Exists);
            }
            // A namespace exists as long as it has tables.
            let named = |known: &TableName| known.namespace() == table.namespace();
            if new.strict_namespace && !state.tables.keys().any(named) {
                return Err(TableError::NoNamespace);
            }
            let shape = TableShape { schema: new.schema.clone(), properties: new.properties.clone() };
            state.tables.insert(table.clone(), shape);
            state.created.insert(table.clone(), new.clone());
            Ok(())
        }
        .boxed()
    }

    fn commits<'a>(
        &'a self,
        table: &'a TableName,
        shard: &'a Shard,
    ) -> BoxFuture<'a, Result<TableCommits, TableError>> {
        async move {
            self.enter(|calls| calls.commits += 1).await?;
            let state = self.state();
            if !state.tables.contains_key(table) {
                return Err(TableError::Missing);
            }
            Ok(state.commits.get(&(table.clone(), shard.clone())).cloned().unwrap_or_default())
        }
        .boxed()
    }
}
