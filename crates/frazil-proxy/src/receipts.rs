//! How far commits have come, for those who hold a receipt.
//!
//! Commit notices of the writers feed a bounded hub in memory, one entry per shard and table. Notices may be lost, so
//! whoever waits also asks the table itself, one request for all that wait on the same entry. The proxy never decides
//! that something is committed: a table's checkpoint, a writer's notice or the shard's low watermark says so.

mod known;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use frazil_core::receipt::Receipt;
use frazil_core::{Shard, TableName};
use futures::{FutureExt, StreamExt};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admission::advice;
use crate::config::ProxyConfig;
use crate::error::{Bound, Rejection};
use crate::metrics::Metrics;
use crate::publish::EventLog;
use crate::tables::TableSource;
use known::Known;
pub(crate) use known::Progressed;

/// Shards times tables that the hub remembers. More: the one touched longest ago, with nobody waiting, is forgotten.
const ENTRIES_MAX: usize = 10_000;

/// Receipts of one request that are waited for, and so polled, at the same time. More wait for their turn.
const WAITS_AT_ONCE: usize = 16;

/// Pause before the notices are subscribed to again.
const RESUBSCRIBE: Duration = Duration::from_secs(1);

/// The hub.
#[derive(Debug)]
pub(crate) struct Receipts {
    log: Arc<dyn EventLog>,
    tables: Arc<dyn TableSource>,
    config: Arc<ProxyConfig>,
    metrics: Metrics,
    entries: Mutex<HashMap<(Shard, TableName), Arc<Entry>>>,
    touches: AtomicU64,
    waiters: Semaphore,
}

#[derive(Debug, Default)]
struct Entry {
    known: watch::Sender<Known>,
    polling: tokio::sync::Mutex<()>,
    touched: AtomicU64,
}

impl Receipts {
    pub(crate) fn new(
        log: Arc<dyn EventLog>,
        tables: Arc<dyn TableSource>,
        config: Arc<ProxyConfig>,
        metrics: Metrics,
    ) -> Self {
        let waiters = Semaphore::new(config.max_waiters);
        Self { log, tables, config, metrics, entries: Mutex::default(), touches: AtomicU64::new(0), waiters }
    }

    /// What a receipt has come to, asking the table if no notice has told yet.
    ///
    /// # Errors
    /// `404` if the log the receipt is of no longer exists, or has lost the events before any table had them.
    pub(crate) async fn look_up(&self, receipt: &Receipt) -> Result<Progressed, Rejection> {
        let entry = self.entry(&receipt.shard, &receipt.table);
        let known = self.progress(&entry, receipt);
        if known != Progressed::Stored {
            return Ok(known);
        }
        self.poll(&entry, receipt, Instant::now()).await;
        let known = self.progress(&entry, receipt);
        if known != Progressed::Stored {
            return Ok(known);
        }
        if self.is_lost(receipt) {
            return Err(Rejection::ReceiptGone);
        }
        match self.log.incarnation(&receipt.shard).await {
            Ok(Some(incarnation)) if incarnation == receipt.incarnation => Ok(Progressed::Stored),
            Ok(_) => Err(Rejection::ReceiptGone),
            Err(error) => Err(Rejection::LogUnavailable(error.to_string())),
        }
    }

    /// Waits until the events of a receipt are in their table. After `timeout`, or when `drain` is cancelled, they are
    /// stored and no more.
    ///
    /// # Errors
    /// `429` when too many wait.
    pub(crate) async fn wait(
        &self,
        receipt: &Receipt,
        timeout: Duration,
        drain: &CancellationToken,
    ) -> Result<Progressed, Rejection> {
        let progressed = self.wait_for_all(&[receipt], timeout, drain).await?;
        Ok(progressed.first().copied().unwrap_or(Progressed::Stored))
    }

    /// The same for all receipts of one request, which take one place in the waiting room together.
    ///
    /// # Errors
    /// `429` when too many wait.
    pub(crate) async fn wait_for_all(
        &self,
        receipts: &[&Receipt],
        timeout: Duration,
        drain: &CancellationToken,
    ) -> Result<Vec<Progressed>, Rejection> {
        let _place = self.waiters.try_acquire().map_err(|_| {
            self.metrics.overload(Bound::Waiters.kind());
            // Tables are asked again after this time, so that some of those who wait will have gone.
            Rejection::Overloaded { bound: Bound::Waiters, retry_after: advice(self.config.poll_interval) }
        })?;
        let _counted = Counted::new(&self.metrics);
        let mut progressed = vec![Progressed::Stored; receipts.len()];
        // Held from the beginning, so that notices which come before an entry's turn are kept.
        let entries: Vec<_> = receipts.iter().map(|receipt| self.entry(&receipt.shard, &receipt.table)).collect();
        let committed = async {
            let waits = receipts.iter().zip(&entries).enumerate();
            let waits = waits.map(|(at, (receipt, entry))| self.committed(entry, receipt).map(move |done| (at, done)));
            let waits: Vec<_> = waits.collect();
            let mut waits = futures::stream::iter(waits).buffer_unordered(WAITS_AT_ONCE);
            while let Some((at, progress)) = waits.next().await {
                progressed[at] = progress;
            }
        };
        tokio::select! {
            biased;
            () = committed => {}
            () = tokio::time::sleep(timeout.min(self.config.wait_max)) => {}
            () = drain.cancelled() => {}
        }
        Ok(progressed)
    }

    /// Returns when the events of a receipt are in their table.
    async fn committed(&self, entry: &Entry, receipt: &Receipt) -> Progressed {
        let mut known = entry.known.subscribe();
        loop {
            let progress = known.borrow_and_update().progress_of(receipt, self.is_lost(receipt));
            if progress != Progressed::Stored {
                return progress;
            }
            tokio::select! {
                // The sender lives in the entry, which is held here.
                _ = known.changed() => {}
                () = tokio::time::sleep(self.config.poll_interval) => self.poll_in_turn(entry, receipt).await,
            }
        }
    }

    fn progress(&self, entry: &Entry, receipt: &Receipt) -> Progressed {
        entry.known.borrow().progress_of(receipt, self.is_lost(receipt))
    }

    /// Whether the log has lost the events of a receipt.
    fn is_lost(&self, receipt: &Receipt) -> bool {
        self.log.is_lost(&receipt.shard, receipt.incarnation, receipt.last)
    }

    /// Takes in commit notices until cancelled.
    pub(crate) async fn follow(&self, cancel: &CancellationToken) {
        let notices = async {
            loop {
                match self.log.notices().await {
                    Ok(mut notices) => {
                        while let Some((shard, notice)) = notices.next().await {
                            self.entry(&shard, &notice.table).known.send_modify(|known| known.notice(&notice));
                        }
                    }
                    Err(error) => tracing::warn!(%error, "cannot subscribe to commit notices; tables are polled"),
                }
                tokio::time::sleep(RESUBSCRIBE).await;
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = notices => {}
        }
    }

    /// Asks the table, unless another waiter is at it or has just been.
    async fn poll_in_turn(&self, entry: &Entry, receipt: &Receipt) {
        let recent = |at: Instant| at.elapsed() < self.config.poll_interval;
        if entry.polling.try_lock().is_ok() && !entry.known.borrow().polled.is_some_and(recent) {
            self.poll(entry, receipt, Instant::now()).await;
        }
    }

    /// Asks the table and the low watermark, unless somebody has done so since `since`.
    async fn poll(&self, entry: &Entry, receipt: &Receipt, since: Instant) {
        let _turn = entry.polling.lock().await;
        if entry.known.borrow().polled.is_some_and(|at| at >= since) {
            return;
        }
        let begun = Instant::now();
        let (table, shard) = (&receipt.table, &receipt.shard);
        let limit = self.config.catalog_timeout;
        let commits = tokio::time::timeout(limit, self.tables.commits(table, shard)).await;
        let commits = commits.map_err(|_| "no answer in time".to_owned()).and_then(|r| r.map_err(|e| e.to_string()));
        if let Err(error) = &commits {
            tracing::debug!(%table, %shard, error, "cannot read the checkpoint");
        }
        let progress = tokio::time::timeout(limit, self.log.progress(shard)).await;
        let watermark = progress.ok().and_then(Result::ok).flatten();
        entry.known.send_modify(|known| known.poll(begun, commits.ok(), watermark));
    }

    fn entry(&self, shard: &Shard, table: &TableName) -> Arc<Entry> {
        let key = (shard.clone(), table.clone());
        let now = self.touches.fetch_add(1, Ordering::Relaxed);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if !entries.contains_key(&key) && entries.len() >= ENTRIES_MAX {
            let idle = entries.iter().filter(|(_, entry)| Arc::strong_count(entry) == 1);
            let oldest = idle.min_by_key(|(_, entry)| entry.touched.load(Ordering::Relaxed));
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                entries.remove(&oldest);
            }
        }
        let entry = entries.entry(key).or_default();
        entry.touched.store(now, Ordering::Relaxed);
        Arc::clone(entry)
    }
}

/// Counts a waiter for as long as it waits.
struct Counted<'m> {
    metrics: &'m Metrics,
}

impl<'m> Counted<'m> {
    fn new(metrics: &'m Metrics) -> Self {
        metrics.waiters.inc();
        Self { metrics }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.metrics.waiters.dec();
    }
}
