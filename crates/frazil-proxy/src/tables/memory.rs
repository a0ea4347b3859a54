//! Tables in memory, for tests: the fake beside the real catalogs, with the faults that tests need.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use frazil_core::schema::Schema;
use frazil_core::{Shard, TableName};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{TableCommits, TableError, TableSource};

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
    tables: BTreeMap<TableName, Schema>,
    commits: BTreeMap<(TableName, Shard), TableCommits>,
    fault: Option<TableFault>,
    calls: Calls,
}

/// Calls made so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Schemas asked for.
    pub schema: usize,
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

    /// Makes or replaces a table.
    pub fn put(&self, table: &TableName, schema: Schema) {
        self.state().tables.insert(table.clone(), schema);
    }

    /// Drops a table.
    pub fn drop_table(&self, table: &TableName) {
        self.state().tables.remove(table);
    }

    /// The schema of a table.
    pub fn get(&self, table: &TableName) -> Option<Schema> {
        self.state().tables.get(table).cloned()
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

    fn schema<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<Schema, TableError>> {
        async move {
            self.enter(|calls| calls.schema += 1).await?;
            self.get(table).ok_or(TableError::Missing)
        }
        .boxed()
    }

    fn create<'a>(&'a self, table: &'a TableName, schema: Schema) -> BoxFuture<'a, Result<(), TableError>> {
        async move {
            self.enter(|calls| calls.create += 1).await?;
            if self.get(table).is_some() {
                return Err(TableError::Exists);
            }
            self.put(table, schema.with_system_columns());
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
