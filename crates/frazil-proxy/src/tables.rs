//! What the proxy knows of tables: a bounded cache of schemas and policies, one load at a time per table.
//!
//! A schema may be out of date: the writer decides by the table's own, so a stale one costs a dead letter and never a
//! loss. While the catalog is down, what is known is used. It must not look into events.

mod catalogs;
mod loaded;
pub mod memory;
mod source;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use frazil_core::TableName;
use frazil_core::policy::TablePolicy;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::config::ProxyConfig;
use crate::metrics::Metrics;
pub(crate) use loaded::Cached;
use loaded::Loaded;
pub use source::{NewTable, TableCommits, TableError, TableShape, TableSource, is_policy_property};

/// How long "there is no such table" and a failed load are believed.
const NEGATIVE_TTL: Duration = Duration::from_secs(1);

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
    /// A table. `not_before`: no other load is tried before then, because the last one failed.
    Table { loaded: Arc<Loaded>, not_before: Option<Instant> },
    /// No table, and why, as of an instant.
    Failed { error: TableError, at: Instant },
}

impl Known {
    /// The answer, if it is fresh enough: at most `max_age` old, or just tried again in vain.
    fn fresh(&self, max_age: Duration) -> Option<Result<Arc<Loaded>, TableError>> {
        match self {
            Self::Nothing => None,
            Self::Table { loaded, not_before } => {
                let fresh = loaded.at().elapsed() < max_age || not_before.is_some_and(|at| Instant::now() < at);
                fresh.then(|| Ok(Arc::clone(loaded)))
            }
            Self::Failed { error, at } => (at.elapsed() < NEGATIVE_TTL).then(|| Err(error.clone())),
        }
    }
}

impl Slot {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stale(&self) -> Option<Arc<Loaded>> {
        match &*self.known() {
            Known::Table { loaded, .. } => Some(Arc::clone(loaded)),
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

    /// What a stream's policy makes of a table, which is at most as old as configured unless the catalog is down.
    pub(crate) async fn plan(&self, table: &TableName, stream: &TablePolicy) -> Result<Cached, TableError> {
        let loaded = self.loaded(table).await?;
        match loaded.under(stream) {
            // Whoever mends the table is not to wait until it is old.
            Err(TableError::Unusable(_)) if loaded.at().elapsed() >= NEGATIVE_TTL => {
                self.newer_plan(table, stream, NEGATIVE_TTL).await
            }
            outcome => outcome,
        }
    }

    /// The same of a table that is loaded anew unless it is younger than `max_age`: the users may have altered it.
    pub(crate) async fn newer_plan(
        &self,
        table: &TableName,
        stream: &TablePolicy,
        max_age: Duration,
    ) -> Result<Cached, TableError> {
        let slot = self.slot(table);
        let _loading = slot.loading.lock().await;
        self.load_unless_fresh(table, &slot, max_age).await?.under(stream)
    }

    /// Creates a table, unless somebody else does, and tells what a stream's policy makes of it.
    pub(crate) async fn create(
        &self,
        table: &TableName,
        stream: &TablePolicy,
        new: &NewTable,
    ) -> Result<Cached, TableError> {
        let slot = self.slot(table);
        let _loading = slot.loading.lock().await;
        let known = slot.known().fresh(self.config.table_ttl);
        if let Some(Ok(made_meanwhile)) = known {
            return made_meanwhile.under(stream);
        }
        match self.in_time(self.source.create(table, new)).await {
            Ok(()) => {
                self.metrics.tables_created.inc();
                tracing::info!(%table, columns = new.schema.fields.len(), "created");
            }
            Err(TableError::Exists) => {}
            Err(error) => return Err(error),
        }
        self.load(table, &slot).await?.under(stream)
    }

    async fn loaded(&self, table: &TableName) -> Result<Arc<Loaded>, TableError> {
        let slot = self.slot(table);
        if let Some(answer) = slot.known().fresh(self.config.table_ttl) {
            return answer;
        }
        let _loading = match slot.loading.try_lock() {
            Ok(guard) => guard,
            Err(_) => match slot.stale() {
                // Somebody refreshes it already; one request waits for the catalog, the others do not.
                Some(stale) => return Ok(stale),
                None => slot.loading.lock().await,
            },
        };
        self.load_unless_fresh(table, &slot, self.config.table_ttl).await
    }

    /// What another request has loaded while this one waited for the lock, or else a load.
    async fn load_unless_fresh(
        &self,
        table: &TableName,
        slot: &Slot,
        max_age: Duration,
    ) -> Result<Arc<Loaded>, TableError> {
        let fresh = slot.known().fresh(max_age);
        match fresh {
            Some(answer) => answer,
            None => self.load(table, slot).await,
        }
    }

    async fn load(&self, table: &TableName, slot: &Slot) -> Result<Arc<Loaded>, TableError> {
        let at = Instant::now();
        let outcome = self.in_time(self.source.load(table)).await;
        let mut known = slot.known();
        let (next, label, answer) = match (outcome, &*known) {
            (Ok(shape), _) => {
                let loaded = Arc::new(Loaded::new(shape, at));
                (Known::Table { loaded: Arc::clone(&loaded), not_before: None }, "loaded", Ok(loaded))
            }
            (Err(TableError::Unavailable(message)), Known::Table { loaded, .. }) => {
                tracing::warn!(%table, message, "the catalog is unavailable; the cached schema stays in use");
                let (loaded, not_before) = (Arc::clone(loaded), Some(Instant::now() + NEGATIVE_TTL));
                (Known::Table { loaded: Arc::clone(&loaded), not_before }, "stale", Ok(loaded))
            }
            (Err(error), _) => {
                let label = if error == TableError::Missing { "missing" } else { "failed" };
                (Known::Failed { error: error.clone(), at: Instant::now() }, label, Err(error))
            }
        };
        self.metrics.table_load(label);
        *known = next;
        answer
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
