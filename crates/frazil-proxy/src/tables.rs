//! What the proxy knows of tables: a bounded cache of compiled schemas, one load at a time per table.
//!
//! A schema may be out of date: the writer decides by the table's own, so a stale one costs a dead letter and never a
//! loss. While the catalog is down, what is known is used. It must not look into events.

mod catalogs;
pub mod memory;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use frazil_core::checkpoint::{Checkpoint, CheckpointDelta};
use frazil_core::mapping::{MappingPolicy, Plan};
use frazil_core::schema::Schema;
use frazil_core::{Shard, TableName};
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::config::ProxyConfig;
use crate::metrics::Metrics;

/// How long "there is no such table" and a failed load are believed.
const NEGATIVE_TTL: Duration = Duration::from_secs(1);

/// Where tables are. Two implementations: the configured Iceberg catalogs and [`memory::MemoryTables`].
pub trait TableSource: Debug + Send + Sync + 'static {
    /// The catalog that two-part table names mean.
    fn default_catalog(&self) -> &str;

    /// The names of all catalogs.
    fn known_catalogs(&self) -> Vec<String>;

    /// The present schema of a table.
    fn schema<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<Schema, TableError>>;

    /// Creates a table with these columns and the system columns, partitioned by the day of `__ts__`, and its
    /// namespace if needed.
    fn create<'a>(&'a self, table: &'a TableName, schema: Schema) -> BoxFuture<'a, Result<(), TableError>>;

    /// How much of a shard the table contains.
    fn commits<'a>(&'a self, table: &'a TableName, shard: &'a Shard)
    -> BoxFuture<'a, Result<TableCommits, TableError>>;
}

/// How much of a shard a table contains, and by which snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableCommits {
    /// The table's checkpoint for the shard.
    pub checkpoint: Option<Checkpoint>,
    /// The newest deltas of the shard in the ancestry, with the snapshots that added them, newest first.
    pub deltas: Vec<(CheckpointDelta, i64)>,
}

/// Why a table could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// There is no such table.
    #[error("there is no such table")]
    Missing,
    /// There is one already.
    #[error("the table exists already")]
    Exists,
    /// The catalog does not allow it.
    #[error("{0}")]
    Forbidden(String),
    /// The table or its definition cannot be used; trying again is in vain.
    #[error("{0}")]
    Unusable(String),
    /// The catalog cannot be asked now. A table that was to be created may have been.
    #[error("{0}")]
    Unavailable(String),
}

/// A compiled schema and its age.
#[derive(Debug, Clone)]
pub(crate) struct Cached {
    pub(crate) plan: Arc<Plan>,
    pub(crate) loaded: Instant,
}

/// The cache.
#[derive(Debug)]
pub(crate) struct Tables {
    source: Arc<dyn TableSource>,
    config: Arc<ProxyConfig>,
    metrics: Metrics,
    slots: Mutex<HashMap<TableName, Arc<Slot>>>,
    uses: AtomicU64,
}

/// What is known of one table.
#[derive(Debug, Default)]
struct Slot {
    last_use: AtomicU64,
    known: Mutex<Known>,
    loading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Default)]
enum Known {
    #[default]
    Nothing,
    /// A schema. `not_before`: no other load is tried before then, because the last one failed.
    Plan { cached: Cached, not_before: Option<Instant> },
    /// No schema, and why, as of an instant.
    Failed { error: TableError, at: Instant },
}

impl Known {
    /// The answer, if it is fresh enough: at most `max_age` old, or just tried again in vain.
    fn fresh(&self, max_age: Duration) -> Option<Result<Cached, TableError>> {
        match self {
            Self::Nothing => None,
            Self::Plan { cached, not_before } => {
                let fresh = cached.loaded.elapsed() < max_age || not_before.is_some_and(|at| Instant::now() < at);
                fresh.then(|| Ok(cached.clone()))
            }
            Self::Failed { error, at } => (at.elapsed() < NEGATIVE_TTL).then(|| Err(error.clone())),
        }
    }
}

impl Slot {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stale_plan(&self) -> Option<Cached> {
        match &*self.known() {
            Known::Plan { cached, .. } => Some(cached.clone()),
            Known::Nothing | Known::Failed { .. } => None,
        }
    }
}

impl Tables {
    pub(crate) fn new(source: Arc<dyn TableSource>, config: Arc<ProxyConfig>, metrics: Metrics) -> Self {
        Self { source, config, metrics, slots: Mutex::default(), uses: AtomicU64::new(0) }
    }

    pub(crate) fn source(&self) -> &Arc<dyn TableSource> {
        &self.source
    }

    /// The compiled schema of a table, at most as old as configured unless the catalog is down.
    pub(crate) async fn plan(&self, table: &TableName) -> Result<Cached, TableError> {
        let slot = self.slot(table);
        if let Some(answer) = slot.known().fresh(self.config.table_ttl) {
            return answer;
        }
        let _loading = match slot.loading.try_lock() {
            Ok(guard) => guard,
            Err(_) => match slot.stale_plan() {
                // Somebody refreshes it already; one request waits for the catalog, the others do not.
                Some(stale) => return Ok(stale),
                None => slot.loading.lock().await,
            },
        };
        self.load_unless_fresh(table, &slot, self.config.table_ttl).await
    }

    /// The compiled schema, loaded anew unless it is younger than `max_age`: the users may have altered the table.
    pub(crate) async fn newer_plan(&self, table: &TableName, max_age: Duration) -> Result<Cached, TableError> {
        let slot = self.slot(table);
        let _loading = slot.loading.lock().await;
        self.load_unless_fresh(table, &slot, max_age).await
    }

    /// Creates a table with the columns that `columns` proposes, unless somebody else does, and gives its schema.
    pub(crate) async fn create(
        &self,
        table: &TableName,
        columns: impl FnOnce() -> Schema,
    ) -> Result<Cached, TableError> {
        let slot = self.slot(table);
        let _loading = slot.loading.lock().await;
        if let Some(Ok(made_meanwhile)) = slot.known().fresh(self.config.table_ttl) {
            return Ok(made_meanwhile);
        }
        match self.in_time(self.source.create(table, columns())).await {
            Ok(()) => {
                self.metrics.tables_created.inc();
                tracing::info!(%table, "created with inferred columns");
            }
            Err(TableError::Exists) => {}
            Err(error) => return Err(error),
        }
        self.load(table, &slot).await
    }

    /// What another request has loaded while this one waited for the lock, or else a load.
    async fn load_unless_fresh(&self, table: &TableName, slot: &Slot, max_age: Duration) -> Result<Cached, TableError> {
        let fresh = slot.known().fresh(max_age);
        match fresh {
            Some(answer) => answer,
            None => self.load(table, slot).await,
        }
    }

    async fn load(&self, table: &TableName, slot: &Slot) -> Result<Cached, TableError> {
        let loaded = Instant::now();
        let outcome = self.in_time(self.source.schema(table)).await.and_then(|schema| {
            let plan = Plan::new(&schema, &MappingPolicy::default());
            plan.map_err(|error| TableError::Unusable(error.to_string()))
        });
        let mut known = slot.known();
        let (next, label) = match (outcome, &*known) {
            (Ok(plan), _) => {
                let cached = Cached { plan: Arc::new(plan), loaded };
                (Known::Plan { cached, not_before: None }, "loaded")
            }
            (Err(TableError::Unavailable(message)), Known::Plan { cached, .. }) => {
                tracing::warn!(%table, message, "the catalog is unavailable; the cached schema stays in use");
                (Known::Plan { cached: cached.clone(), not_before: Some(Instant::now() + NEGATIVE_TTL) }, "stale")
            }
            (Err(error), _) => {
                let label = if error == TableError::Missing { "missing" } else { "failed" };
                (Known::Failed { error, at: Instant::now() }, label)
            }
        };
        self.metrics.table_load(label);
        *known = next;
        match &*known {
            Known::Plan { cached, .. } => Ok(cached.clone()),
            Known::Failed { error, .. } => Err(error.clone()),
            Known::Nothing => Err(TableError::Missing),
        }
    }

    async fn in_time<T>(&self, work: BoxFuture<'_, Result<T, TableError>>) -> Result<T, TableError> {
        let limit = self.config.catalog_timeout;
        tokio::time::timeout(limit, work)
            .await
            .unwrap_or_else(|_| Err(TableError::Unavailable(format!("no answer within {} s", limit.as_secs()))))
    }

    fn slot(&self, table: &TableName) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.uses.fetch_add(1, Ordering::Relaxed);
        if let Some(slot) = slots.get(table) {
            slot.last_use.store(now, Ordering::Relaxed);
            return Arc::clone(slot);
        }
        if slots.len() >= self.config.tables_max {
            // A scan is cheap beside the load that follows.
            let oldest = slots.iter().min_by_key(|(_, slot)| slot.last_use.load(Ordering::Relaxed));
            if let Some(oldest) = oldest.map(|(table, _)| table.clone()) {
                slots.remove(&oldest);
            }
        }
        let slot = Arc::new(Slot { last_use: AtomicU64::new(now), ..Slot::default() });
        slots.insert(table.clone(), Arc::clone(&slot));
        slot
    }
}
