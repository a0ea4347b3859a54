//! The reader of one shard: verifies each message, watches continuity, drops repeats, hands the rest to the tables.
//!
//! It decides from the log alone, so that a restart and a zombie decide alike. It must not look at tables.

mod examine;
mod marks;
mod needed;
mod open;
pub(crate) mod rewound;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use frazil_core::Shard;
use frazil_core::checkpoint::{Checkpoint, Incarnation, Sequence};
use frazil_core::rewind::distance;
use frazil_log::{Message, ReadError, ShardInfo};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::dead_letter::LETTER_OVERHEAD;
use crate::metrics::StreamLabel;
use crate::pipeline::StreamContext;
use crate::progress::{ShardProgress, Size};
use crate::router::Router;
use crate::rows::{Content, Delivery};
use crate::sink::TableSink;
use crate::source::{Source, SourceReader};
use crate::status::Problem;
use examine::{Examined, Examiner, Lost};
use marks::Marks;
use needed::Needed;

/// Budget taken for a delivery beyond its bytes.
const DELIVERY_OVERHEAD: usize = 256;
/// Bytes of the texts that every row gets: `__id__` (with long numbers) and `__write_id__`.
const SYSTEM_TEXTS: usize = 48 + 36;
/// Newest samples kept to find out what is older than the replay retention.
const SAMPLES: usize = 1024;

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
    /// When the log stored it, in nanoseconds since the Unix epoch; 0 at first.
    newest_nanos: AtomicI64,
    /// Newest message of the log, as it last said.
    last: AtomicU64,
    /// What keeps the shard from being read.
    problem: Mutex<Option<Problem>>,
    times: Mutex<VecDeque<(Sequence, i64)>>,
    marks: Mutex<Marks>,
    /// Shift of the newest rewind on record when it was opened.
    pub(crate) shift: u64,
    /// Tells the reader that it must begin anew, because the log went back or a proxy says so.
    pub(crate) went_back: CancellationToken,
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
            newest_nanos: AtomicI64::new(0),
            last: AtomicU64::new(0),
            problem: Mutex::default(),
            times: Mutex::default(),
            marks: Mutex::default(),
            shift: 0,
            went_back: CancellationToken::new(),
        }
    }

    /// What is read and what is committed.
    pub(crate) fn progress(&self) -> MutexGuard<'_, ShardProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What of the log is not known to be in its tables, at `now_nanos` by the wall clock.
    pub(crate) fn lag(&self, now_nanos: i64) -> Lag {
        let newest = self.newest.load(Ordering::Relaxed);
        let last = self.last.load(Ordering::Relaxed).max(newest);
        let progress = self.progress();
        let (unread, watermark) = (distance(newest, last), progress.watermark());
        let Size { events, bytes } = progress.size_with(unread);
        // What is not read yet is not older than what was read last.
        let newest_nanos = Some(self.newest_nanos.load(Ordering::Relaxed)).filter(|at| unread > 0 && *at > 0);
        let oldest = progress.oldest_stored_nanos().or(newest_nanos);
        let age = oldest.map_or(0, |at| now_nanos.saturating_sub(at).max(0));
        let seconds = Duration::from_nanos(age.unsigned_abs()).as_secs_f64();
        Lag { messages: distance(watermark, last), events, bytes, seconds }
    }

    /// The newest message that is known to be in its table with all before it, and when the log stored it.
    pub(crate) fn committed(&self) -> Option<Checkpoint> {
        let watermark = self.progress().watermark();
        let (sequence, at) = self.marks().pass(watermark)?;
        Some(Checkpoint { incarnation: self.incarnation, sequence, at: Some(at) })
    }

    /// Newest message read.
    pub(crate) fn newest(&self) -> Sequence {
        self.newest.load(Ordering::Relaxed)
    }

    /// By producer, up to which number all envelopes are in their tables, as of the last [`committed`](Self::committed).
    pub(crate) fn contained(&self) -> Vec<(Uuid, u64)> {
        self.marks().contained()
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what the log says about the shard. When all of it is read, nothing keeps it from being read.
    pub(crate) fn seen(&self, info: &ShardInfo) {
        if info.incarnation == self.incarnation {
            self.last.store(info.last_sequence, Ordering::Relaxed);
            if info.last_sequence == self.newest.load(Ordering::Relaxed) {
                self.report(None);
            }
        }
    }

    fn report(&self, problem: Option<Problem>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
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

/// What of a shard is not known to be in its tables.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Lag {
    pub(crate) messages: u64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// Age of the oldest of the messages.
    pub(crate) seconds: f64,
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
    /// Somebody else commits it too, and has freed what was to be read next. What was freed may be needed to tell repeats.
    #[error("another writer of shard {0} was faster")]
    Overtaken(Shard),
    /// It lost its tail, which is on record now.
    #[error("shard {0} went back")]
    Rewound(Shard),
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
        let task = ShardTask { context, router, state: opened.state, examiner: opened.examiner };
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
}

impl<So: Source, Si: TableSink> ShardTask<So, Si> {
    async fn read(mut self, mut reader: So::Reader) -> ShardEnd {
        loop {
            let next = tokio::select! {
                biased;
                () = self.state.went_back.cancelled() => Err(ReadError::Shifted),
                next = reader.next() => next,
            };
            match next {
                // A reader that had to begin again may have begun too early.
                Ok(message) if message.sequence <= self.state.newest.load(Ordering::Relaxed) => {}
                Ok(message) if self.is_suspected(&message) => return ShardEnd::Rewound(self.state.shard.clone()),
                Ok(message) => {
                    self.state.report(None);
                    self.hand_out(message).await;
                }
                Err(ReadError::Recreated(_)) => return ShardEnd::Recreated(self.state.shard.clone()),
                Err(ReadError::Deleted) => return ShardEnd::Deleted(self.state.shard.clone()),
                Err(ReadError::Rewound { witness, .. }) => {
                    rewound::record(&self.context, &self.state.shard, witness).await;
                    return ShardEnd::Rewound(self.state.shard.clone());
                }
                Err(ReadError::Shifted) => return ShardEnd::Rewound(self.state.shard.clone()),
                Err(error) => {
                    if let ReadError::Gap { found, .. } = error
                        && self.is_done_through(found - 1).await
                    {
                        return ShardEnd::Overtaken(self.state.shard.clone());
                    }
                    self.trouble(error).await;
                }
            }
        }
    }

    /// Whether a proxy says that the message is of a new history. What was read before must be committed, and every
    /// table it is for compared with the log, before that is put on record: see [`open`].
    fn is_suspected(&self, message: &Message) -> bool {
        let suspicion = self.context.source.suspicion(&self.state.shard, self.state.incarnation);
        suspicion.is_some_and(|suspicion| suspicion.position <= message.sequence)
    }

    /// Whether the stored low watermark says that everything up to here is committed: another writer of the shard has
    /// done it, and freed it.
    async fn is_done_through(&self, sequence: Sequence) -> bool {
        let mut failures = 0;
        loop {
            match self.context.source.progress(&self.state.shard).await {
                Ok(stored) => {
                    let ours = stored.filter(|stored| stored.incarnation == self.state.incarnation);
                    return ours.is_some_and(|stored| stored.sequence >= sequence);
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(shard = %self.state.shard, %error, failures, "cannot read the low watermark");
                    tokio::time::sleep(self.context.config.backoff.wait(failures)).await;
                }
            }
        }
    }

    async fn trouble(&mut self, error: ReadError) {
        let shard = &self.state.shard;
        if let ReadError::Gap { expected, found } = error {
            tracing::error!(%shard, expected, found, "ALARM acknowledged loss: messages are gone from the log");
            let lost = Lost { producer: None, from: expected, to: found - 1, seen_at: found };
            self.context.metrics.missing_messages.get_or_create(&self.context.stream_label()).inc_by(lost.count());
            rewound::record_loss(&self.context, &self.state, &lost).await;
            return;
        }
        tracing::warn!(%shard, %error, "cannot read the shard");
        self.state.report(Some(self.context.status.raise(format!("shard {shard}"), error.to_string())));
    }

    async fn hand_out(&mut self, message: Message) {
        let (sequence, at_nanos) = (message.sequence, message.timestamp_nanos);
        self.state.newest.store(sequence, Ordering::Relaxed);
        self.state.newest_nanos.store(at_nanos, Ordering::Relaxed);
        let examined = self.examiner.examine(message);
        self.count(&examined);
        if let Some(lost) = &examined.lost {
            rewound::record_loss(&self.context, &self.state, lost).await;
        }
        self.state.marks().read(sequence, at_nanos, examined.producer);
        for (table, content) in examined.contents {
            let Some(route) = self.router.route(&table).await else { return };
            let bytes = content.bytes(route.row_width.load(Ordering::Relaxed)) + DELIVERY_OVERHEAD;
            let permit = self.context.budget.acquire(bytes).await;
            self.state.progress().dispatched(&table, sequence, content.size(), at_nanos, Instant::now());
            let delivery = Delivery { origin: Arc::clone(&self.state), sequence, at: at_nanos, content, permit };
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
        metrics.lost_envelopes.get_or_create(&label).inc_by(examined.lost.map_or(0, |lost| lost.count()));
        metrics.unreadable.get_or_create(&label).inc_by(u64::from(examined.unreadable));
        metrics.checksum_failures.get_or_create(&label).inc_by(u64::from(examined.bad_checksum));
        let forgotten = metrics.forgotten_keys.get_or_create(&label);
        forgotten.inc_by(examined.forgotten);
    }
}

impl Content {
    /// Its events, and their bytes as they are in the log.
    fn size(&self) -> Size {
        match self {
            Self::Sections(parts) => Size {
                events: parts.iter().map(|part| u64::from(part.section.header.count)).sum(),
                bytes: parts.iter().map(|part| part.section.events.len() as u64).sum(),
            },
            Self::Unreadable { payload, .. } => Size { events: 1, bytes: payload.len() as u64 },
        }
    }

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
