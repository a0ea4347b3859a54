//! The reader of one shard: verifies each message, watches continuity, drops repeats, hands the rest to the tables.
//!
//! It decides from the log alone, so that a restart and a zombie decide alike. It must not look at tables.

mod examine;
mod needed;
mod open;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use frazil_core::Shard;
use frazil_core::checkpoint::{Incarnation, Sequence};
use frazil_log::{Message, ReadError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dead_letter::LETTER_OVERHEAD;
use crate::metrics::StreamLabel;
use crate::pipeline::StreamContext;
use crate::progress::ShardProgress;
use crate::router::Router;
use crate::rows::{Content, Delivery};
use crate::sink::TableSink;
use crate::source::{Source, SourceReader};
use crate::status::Problem;
use examine::{Examined, Examiner};
use needed::Needed;

/// Budget taken for a delivery beyond its bytes.
const DELIVERY_OVERHEAD: usize = 256;
/// Bytes of the texts that every row gets: `__id__` (with long numbers) and `__write_id__`.
const SYSTEM_TEXTS: usize = 48 + 36;
/// Newest samples kept to find out what is older than the replay retention.
const SAMPLES: usize = 1024;
/// Wait before the log is asked again whether its tail is back.
const REWOUND_WAIT: Duration = Duration::from_secs(1);

/// One shard while it is read; shared by its reader, the tables and the keeper of progress.
#[derive(Debug)]
pub(crate) struct ShardState {
    /// Its name.
    pub(crate) shard: Shard,
    /// Which one of that name.
    pub(crate) incarnation: Incarnation,
    /// Low watermark when reading began.
    pub(crate) watermark: Sequence,
    progress: Mutex<ShardProgress>,
    /// What the dedupe window depends on.
    needed: Mutex<Needed>,
    /// Newest message read.
    newest: AtomicU64,
    times: Mutex<VecDeque<(Sequence, i64)>>,
}

impl ShardState {
    /// `oldest_needed` is the oldest message that decisions about those after the watermark depend on.
    pub(crate) fn new(
        shard: Shard,
        incarnation: Incarnation,
        watermark: Sequence,
        oldest_needed: Option<Sequence>,
    ) -> Self {
        Self {
            shard,
            incarnation,
            watermark,
            progress: Mutex::new(ShardProgress::new(incarnation, watermark)),
            needed: Mutex::new(Needed::new(watermark, oldest_needed)),
            newest: AtomicU64::new(watermark),
            times: Mutex::default(),
        }
    }

    /// What is read and what is committed.
    pub(crate) fn progress(&self) -> MutexGuard<'_, ShardProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages handed out or read beyond the low watermark.
    pub(crate) fn lag(&self) -> u64 {
        self.newest.load(Ordering::Relaxed).saturating_sub(self.progress().watermark())
    }

    /// The last message that may be freed, given a stored low watermark and how long messages must be kept.
    pub(crate) fn purgeable(&self, stored: Sequence, retention_nanos: i64) -> Sequence {
        let window = self.needed().not_needed_through(stored);
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = times.back().map_or(i64::MIN, |(_, at)| *at);
        let horizon = newest.saturating_sub(retention_nanos);
        let old = if retention_nanos == 0 {
            Sequence::MAX
        } else {
            let past = times.partition_point(|(_, at)| *at < horizon);
            let last = past.checked_sub(1).map_or(0, |index| times[index].0);
            times.drain(..past.saturating_sub(1));
            last
        };
        window.min(old)
    }

    fn needed(&self) -> MutexGuard<'_, Needed> {
        self.needed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sample(&self, sequence: Sequence, at_nanos: i64, retention_nanos: i64) {
        if retention_nanos == 0 {
            return;
        }
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let spacing = retention_nanos / (SAMPLES as i64 / 2);
        if times.back().is_none_or(|(_, last)| at_nanos >= last.saturating_add(spacing)) {
            times.push_back((sequence, at_nanos));
        }
        if times.len() > SAMPLES {
            times.pop_front();
        }
    }
}

/// Why reading a shard ended. The stream's pipeline starts over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShardEnd {
    /// It is not the shard it was.
    #[error("shard {0} was deleted and created again")]
    Recreated(Shard),
    /// It is gone.
    #[error("shard {0} was deleted")]
    Deleted(Shard),
}

/// Reads the shard until `stop`.
pub(crate) async fn run<So: Source, Si: TableSink>(
    context: Arc<StreamContext<So, Si>>,
    shard: Shard,
    router: Arc<Router>,
    stop: CancellationToken,
) -> Result<(), ShardEnd> {
    let reading = async {
        let opened = open::open(&context, &shard).await;
        context.add_shard(&opened.state);
        let task = ShardTask { context, router, state: opened.state, examiner: opened.examiner, problem: None };
        task.read(opened.reader).await
    };
    tokio::select! {
        biased;
        // Dropping a reader between any two steps is safe: a message counts as read only when all of it is handed out.
        () = stop.cancelled() => Ok(()),
        end = reading => Err(end),
    }
}

struct ShardTask<So: Source, Si: TableSink> {
    context: Arc<StreamContext<So, Si>>,
    router: Arc<Router>,
    state: Arc<ShardState>,
    examiner: Examiner,
    problem: Option<Problem>,
}

impl<So: Source, Si: TableSink> ShardTask<So, Si> {
    async fn read(mut self, mut reader: So::Reader) -> ShardEnd {
        loop {
            match reader.next().await {
                Ok(message) => {
                    self.problem = None;
                    self.hand_out(message).await;
                }
                Err(ReadError::Recreated(_)) => return ShardEnd::Recreated(self.state.shard.clone()),
                Err(ReadError::Deleted) => return ShardEnd::Deleted(self.state.shard.clone()),
                Err(error) => self.trouble(error).await,
            }
        }
    }

    async fn trouble(&mut self, error: ReadError) {
        let shard = &self.state.shard;
        match &error {
            ReadError::Gap { expected, found } => {
                tracing::error!(%shard, expected, found, "ALARM acknowledged loss: messages are gone from the log");
                let lost = found.saturating_sub(*expected);
                self.context.metrics.missing_messages.get_or_create(&self.context.stream_label()).inc_by(lost);
                return;
            }
            ReadError::Rewound { .. } => {
                tracing::error!(%shard, %error, "ALARM the log has lost its tail; not reading on");
            }
            ReadError::Unavailable(_) | ReadError::Recreated(_) | ReadError::Deleted => {
                tracing::warn!(%shard, %error, "cannot read the shard");
            }
        }
        let rewound = matches!(error, ReadError::Rewound { .. });
        self.problem = Some(self.context.status.raise(format!("shard {shard}"), error.to_string()));
        if rewound {
            tokio::time::sleep(REWOUND_WAIT).await;
        }
    }

    async fn hand_out(&mut self, message: Message) {
        let (sequence, at_nanos) = (message.sequence, message.timestamp_nanos);
        self.state.newest.store(sequence, Ordering::Relaxed);
        let examined = self.examiner.examine(message);
        self.count(&examined);
        for (table, content) in examined.contents {
            let Some(route) = self.router.route(&table).await else { return };
            let bytes = content.bytes(route.row_width.load(Ordering::Relaxed)) + DELIVERY_OVERHEAD;
            let permit = self.context.budget.acquire(bytes).await;
            self.state.progress().dispatched(&table, sequence, Instant::now());
            let delivery = Delivery { origin: Arc::clone(&self.state), sequence, content, permit };
            if route.inbox.send(delivery).await.is_err() {
                // The task has failed; the pipeline is about to end. This message does not count as read.
                return std::future::pending().await;
            }
        }
        self.state.progress().read_through(sequence);
        self.state.needed().judged(sequence, self.examiner.oldest_needed());
        self.state.sample(sequence, at_nanos, self.context.retention_nanos());
    }

    fn count(&self, examined: &Examined) {
        let (metrics, label): (_, StreamLabel) = (&self.context.metrics, self.context.stream_label());
        metrics.events.get_or_create(&label).inc_by(examined.events);
        metrics.repeats.get_or_create(&label).inc_by(examined.repeats);
        metrics.lost_envelopes.get_or_create(&label).inc_by(examined.lost);
        metrics.unreadable.get_or_create(&label).inc_by(u64::from(examined.unreadable));
        metrics.checksum_failures.get_or_create(&label).inc_by(u64::from(examined.bad_checksum));
        let forgotten = metrics.forgotten_keys.get_or_create(&label);
        forgotten.inc_by(examined.forgotten);
    }
}

impl Content {
    /// What it may come to take of the budget: the bytes as they are, and the rows or letters they become. What it does
    /// not take in the end is given back when it is decoded.
    pub(crate) fn bytes(&self, row_width: usize) -> usize {
        match self {
            Self::Sections(parts) => {
                let sum = |of: fn(&crate::rows::Part) -> usize| parts.iter().map(of).sum::<usize>();
                let count = sum(|part| part.section.header.count as usize);
                2 * sum(|part| part.section.events.len()) + count * (row_width + SYSTEM_TEXTS).max(LETTER_OVERHEAD)
            }
            Self::Unreadable { payload, .. } => payload.len() + LETTER_OVERHEAD,
        }
    }
}
