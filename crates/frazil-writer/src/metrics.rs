//! What the writer counts, under `frazil_writer_…`. Only names and labels; nothing here decides anything.

mod tables;

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

pub(crate) use tables::TableSeries;

/// Label: the event stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StreamLabel {
    pub(crate) stream: String,
}

/// Labels: the event stream, and a cause.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CauseLabel {
    pub(crate) stream: String,
    pub(crate) cause: &'static str,
}

/// Labels: the event stream, and how something ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    pub(crate) stream: String,
    pub(crate) outcome: &'static str,
}

/// Labels: one shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ShardLabel {
    pub(crate) stream: String,
    pub(crate) shard: u32,
}

type PerStream = Family<StreamLabel, Counter>;
type PerOutcome = Family<OutcomeLabel, Counter>;
type PerCause = Family<CauseLabel, Counter>;
type Seconds = Family<StreamLabel, Histogram, fn() -> Histogram>;

/// All metrics of a writer. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) events: PerStream,
    pub(crate) rows: PerStream,
    pub(crate) dead_letters: PerCause,
    pub(crate) repeats: PerStream,
    pub(crate) commits: PerCause,
    pub(crate) commit_seconds: Seconds,
    pub(crate) stage_seconds: Seconds,
    pub(crate) files: PerStream,
    pub(crate) file_bytes: PerStream,
    pub(crate) adopted: PerStream,
    pub(crate) failures: PerCause,
    pub(crate) restarts: PerCause,
    pub(crate) checksum_failures: PerStream,
    pub(crate) unreadable: PerStream,
    pub(crate) lost_envelopes: PerStream,
    pub(crate) missing_messages: PerStream,
    pub(crate) log_rewinds: PerStream,
    pub(crate) forgotten_keys: PerStream,
    pub(crate) columns_added: PerStream,
    pub(crate) columns_widened: PerStream,
    pub(crate) schema_updates: PerOutcome,
    pub(crate) column_limit: PerStream,
    pub(crate) lag: Family<ShardLabel, Gauge>,
    pub(crate) lag_events: Family<ShardLabel, Gauge>,
    pub(crate) lag_bytes: Family<ShardLabel, Gauge>,
    pub(crate) lag_seconds: Family<ShardLabel, Gauge<f64, AtomicU64>>,
    pub(crate) oldest_age: Family<StreamLabel, Gauge<f64, AtomicU64>>,
    pub(crate) memory: Gauge,
    pub(crate) memory_limit: Gauge,
    pub(crate) tables: Family<StreamLabel, Gauge>,
    pub(crate) table_series: TableSeries,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 14))
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds_family = || Seconds::new_with_constructor(seconds as fn() -> Histogram);
        Self {
            events: PerStream::default(),
            rows: PerStream::default(),
            dead_letters: PerCause::default(),
            repeats: PerStream::default(),
            commits: PerCause::default(),
            commit_seconds: seconds_family(),
            stage_seconds: seconds_family(),
            files: PerStream::default(),
            file_bytes: PerStream::default(),
            adopted: PerStream::default(),
            failures: PerCause::default(),
            restarts: PerCause::default(),
            checksum_failures: PerStream::default(),
            unreadable: PerStream::default(),
            lost_envelopes: PerStream::default(),
            missing_messages: PerStream::default(),
            log_rewinds: PerStream::default(),
            forgotten_keys: PerStream::default(),
            columns_added: PerStream::default(),
            columns_widened: PerStream::default(),
            schema_updates: PerOutcome::default(),
            column_limit: PerStream::default(),
            lag: Family::default(),
            lag_events: Family::default(),
            lag_bytes: Family::default(),
            lag_seconds: Family::default(),
            oldest_age: Family::default(),
            memory: Gauge::default(),
            memory_limit: Gauge::default(),
            tables: Family::default(),
            table_series: TableSeries::default(),
        }
    }
}

impl Metrics {
    /// Registers every metric.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("frazil_writer");
        registry.register("events", "Events read from the log, repeats included", self.events.clone());
        registry.register("rows", "Rows committed to tables", self.rows.clone());
        registry.register("dead_letters", "Events committed to dead-letter tables", self.dead_letters.clone());
        registry.register("repeats_dropped", "Events dropped as repeats of a keyed request", self.repeats.clone());
        registry.register("commits", "Commits by what triggered them", self.commits.clone());
        registry.register("commit_seconds", "Time from sealing a batch to its commit", self.commit_seconds.clone());
        registry.register("stage_seconds", "Time to write and store the files of a batch", self.stage_seconds.clone());
        registry.register("files", "Data files stored", self.files.clone());
        registry.register("file_bytes", "Bytes of data files stored", self.file_bytes.clone());
        registry.register("commits_adopted", "Commits whose answer was lost and that were found", self.adopted.clone());
        registry.register("failures", "Failed tries to load, stage or commit, by outcome", self.failures.clone());
        registry.register("restarts", "Restarts of a stream's pipeline by cause", self.restarts.clone());
        registry.register("checksum_failures", "Messages with a wrong checksum", self.checksum_failures.clone());
        registry.register("unreadable_messages", "Messages that became one dead letter", self.unreadable.clone());
        let help = "Acknowledged envelopes that are missing in the log";
        registry.register("acknowledged_loss_envelopes", help, self.lost_envelopes.clone());
        let help = "Messages that were gone from the log before they were read";
        registry.register("missing_messages", help, self.missing_messages.clone());
        let help = "Times that the log was found to have gone back and lost its tail";
        registry.register("log_rewinds", help, self.log_rewinds.clone());
        let help = "Idempotency keys forgotten before their window ended, because of the bound";
        registry.register("dedupe_keys_forgotten_early", help, self.forgotten_keys.clone());
        let help = "Columns added to tables for events with new fields";
        registry.register("columns_added", help, self.columns_added.clone());
        let help = "Columns widened for events with larger values";
        registry.register("columns_widened", help, self.columns_widened.clone());
        registry.register("schema_updates", "Tries to alter a table, by outcome", self.schema_updates.clone());
        let help = "Times that a table got no columns for new fields because of its limit of columns per hour";
        registry.register("column_limit_reached", help, self.column_limit.clone());
        registry.register("lag_messages", "Messages of a shard that are not known to be committed", self.lag.clone());
        let help = "Events in these messages; those of messages that are not read yet are estimated";
        registry.register("lag_events", help, self.lag_events.clone());
        let help = "Bytes of these events, as JSON";
        registry.register("lag_bytes", help, self.lag_bytes.clone());
        let help = "Age of the oldest of these messages by the time at which the log stored it";
        registry.register("lag_seconds", help, self.lag_seconds.clone());
        let help = "Age of the oldest event that is not committed";
        registry.register("oldest_uncommitted_seconds", help, self.oldest_age.clone());
        registry.register("memory_bytes", "Bytes of the memory budget in use", self.memory.clone());
        registry.register("memory_limit_bytes", "The memory budget", self.memory_limit.clone());
        registry.register("open_tables", "Tables with a running task", self.tables.clone());
        self.table_series.register(registry);
    }

    /// A stream is gone from this writer, and with it the gauges of its tables and of `shards`.
    pub(crate) fn forget_stream(&self, stream: &str, shards: impl Iterator<Item = u32>) {
        for shard in shards {
            let label = ShardLabel { stream: stream.to_owned(), shard };
            self.lag.remove(&label);
            self.lag_events.remove(&label);
            self.lag_bytes.remove(&label);
            self.lag_seconds.remove(&label);
        }
        self.oldest_age.remove(&StreamLabel { stream: stream.to_owned() });
        self.table_series.forget_stream(stream);
    }
}
