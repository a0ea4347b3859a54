//! What the tasks of one stream share, and how they report trouble.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use frazil_core::policy::TablePolicy;
use frazil_core::stream::{CommitNotice, StreamDefinition};
use frazil_core::{Shard, StreamName, TableName};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::budget::Budget;
use crate::clock::WallClock;
use crate::config::WriterConfig;
use crate::metrics::{CauseLabel, Metrics, StreamLabel};
use crate::shard::ShardState;
use crate::sink::{SinkError, TableSink};
use crate::source::Source;
use crate::status::{Problem, StatusBoard};

/// Longest wait for an announcement to leave; it is only a hint.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(1);

/// A catalog or store that takes longer than this to answer is reported.
const SLOW_AFTER: Duration = Duration::from_secs(10);

/// What all streams of a writer share.
#[derive(Debug, Clone)]
pub(crate) struct Shared<So, Si> {
    pub(crate) source: So,
    pub(crate) sink: Si,
    pub(crate) config: Arc<WriterConfig>,
    pub(crate) budget: Budget,
    pub(crate) metrics: Metrics,
    pub(crate) status: StatusBoard,
    /// Turns to store files or commit.
    pub(crate) flushes: Arc<Semaphore>,
    pub(crate) clock: WallClock,
    /// Catalog of the tables that belong to streams.
    pub(crate) default_catalog: String,
}

/// What all tasks of one run of a stream share.
#[derive(Debug)]
pub(crate) struct StreamContext<So, Si> {
    pub(crate) source: So,
    pub(crate) sink: Si,
    pub(crate) config: Arc<WriterConfig>,
    pub(crate) budget: Budget,
    pub(crate) metrics: Metrics,
    pub(crate) status: StatusBoard,
    pub(crate) clock: WallClock,
    flushes: Arc<Semaphore>,
    /// Where messages go that cannot be read: to the dead-letter table of this one, which need not exist.
    pub(crate) unreadable_table: TableName,
    definition: Arc<StreamDefinition>,
    shards: Mutex<BTreeMap<u32, Arc<ShardState>>>,
}

impl<So: Source, Si: TableSink> StreamContext<So, Si> {
    pub(crate) fn new(shared: &Shared<So, Si>, definition: Arc<StreamDefinition>) -> Self {
        let Shared { source, sink, config, budget, metrics, status, clock, flushes, .. } = shared.clone();
        let unreadable_table = TableName::catch_all(&shared.default_catalog, &definition.name)
            .expect("catalog and stream names are parts of table names");
        Self {
            source,
            sink,
            config,
            budget,
            metrics,
            status,
            clock,
            flushes,
            unreadable_table,
            definition,
            shards: Mutex::default(),
        }
    }

    /// How events become rows, as far as the stream decides.
    pub(crate) fn policy(&self) -> TablePolicy {
        self.definition.policy
    }

    /// A turn to store files or commit once. Whoever waits before another try must not keep it.
    pub(crate) async fn flush_turn(&self) -> SemaphorePermit<'_> {
        self.flushes.acquire().await.expect("the semaphore is never closed")
    }

    /// Waits for an answer about a table, and shows in the status that it is slow while it is.
    pub(crate) async fn patiently<T>(&self, table: &TableName, what: &str, answer: impl Future<Output = T>) -> T {
        // On the heap: who waits is the task of a table, of which there may be thousands.
        let mut answer = Box::pin(answer);
        if let Ok(answer) = tokio::time::timeout(SLOW_AFTER, &mut answer).await {
            return answer;
        }
        let reason = format!("no answer for more than {} s to: {what}", SLOW_AFTER.as_secs());
        let _problem = self.status.raise(format!("table {table}"), reason);
        answer.await
    }

    pub(crate) fn stream_name(&self) -> &StreamName {
        &self.definition.name
    }

    pub(crate) fn stream_label(&self) -> StreamLabel {
        StreamLabel { stream: self.definition.name.to_string() }
    }

    pub(crate) fn window_nanos(&self) -> i64 {
        i64::from(self.definition.dedupe_window_secs) * 1_000_000_000
    }

    pub(crate) fn retention_nanos(&self) -> i64 {
        i64::from(self.definition.replay_retention_secs) * 1_000_000_000
    }

    /// A shard is open from now on.
    pub(crate) fn add_shard(&self, shard: &Arc<ShardState>) {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        shards.insert(shard.shard.index, Arc::clone(shard));
    }

    /// The open shard with this number.
    pub(crate) fn shard(&self, index: u32) -> Option<Arc<ShardState>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).get(&index).cloned()
    }

    /// Every open shard.
    pub(crate) fn shards(&self) -> Vec<Arc<ShardState>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Announces commits. Losing an announcement is harmless.
    pub(crate) async fn announce(&self, notices: Vec<(Shard, CommitNotice)>) {
        for (shard, notice) in notices {
            let announced = tokio::time::timeout(ANNOUNCE_TIMEOUT, self.source.announce(&shard, &notice)).await;
            if !matches!(announced, Ok(Ok(()))) {
                tracing::debug!(%shard, table = %notice.table, "a commit was not announced");
            }
        }
    }

    /// Follows the failures of one operation on one table.
    pub(crate) fn trouble<'c>(&'c self, table: &'c TableName, what: &'static str) -> Trouble<'c> {
        Trouble {
            status: &self.status,
            metrics: &self.metrics,
            stream: self.stream_label(),
            config: &self.config,
            table,
            what,
            failures: 0,
            problem: None,
        }
    }
}

/// Failures of one operation in a row: logged, counted, shown in the status, with growing waits. Over when dropped.
pub(crate) struct Trouble<'c> {
    status: &'c StatusBoard,
    metrics: &'c Metrics,
    stream: StreamLabel,
    config: &'c WriterConfig,
    table: &'c TableName,
    what: &'static str,
    failures: u32,
    problem: Option<Problem>,
}

impl Trouble<'_> {
    /// Reports a failure to load, create or stage, and waits.
    pub(crate) async fn sink(&mut self, error: &SinkError) {
        match error {
            SinkError::Unavailable(_) => self.retry("unavailable", error).await,
            SinkError::Rejected(_) => self.retry("rejected", error).await,
        }
    }

    /// Reports a failure and waits.
    pub(crate) async fn retry(&mut self, outcome: &'static str, error: &(dyn std::error::Error + Sync)) {
        self.failures += 1;
        let (table, what, failures) = (self.table, self.what, self.failures);
        let cause = CauseLabel { stream: self.stream.stream.clone(), cause: outcome };
        self.metrics.failures.get_or_create(&cause).inc();
        let error = error.to_string();
        match outcome {
            "rejected" => tracing::error!(%table, error, failures, "cannot {what}: somebody must act; events wait"),
            _ => tracing::warn!(%table, error, failures, outcome, "cannot {what}; trying again"),
        }
        let problem = self.status.raise(format!("table {table}"), format!("cannot {what}: {error}"));
        self.problem = Some(problem);
        tokio::time::sleep(self.config.backoff.wait(failures)).await;
    }
}
