//! Keeps what a stream has achieved: stores low watermarks, frees what is committed.
//!
//! All of it may be late or fail: a stale watermark only means that more is read again and skipped.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use frazil_core::checkpoint::{Checkpoint, Sequence};
use frazil_core::rewind::distance;
use frazil_core::stream::Progress;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::StreamContext;
use crate::shard::{ShardState, rewound};
use crate::sink::TableSink;
use crate::source::Source;

/// What is stored of one shard.
#[derive(Debug, Default)]
struct Kept {
    stored: Sequence,
    /// The producers' numbers at the stored low watermark.
    numbers: Vec<(Uuid, u64)>,
    /// The low watermark whose numbers are stored too, and the producers among them.
    numbered: Sequence,
    producers: HashSet<Uuid>,
    purged: Sequence,
}

impl Kept {
    fn new(state: &ShardState) -> Self {
        Self { stored: state.watermark, numbers: state.contained(), ..Self::default() }
    }

    /// Whether there is a producer of which nothing is stored: should the log lose all that it has of it, nothing would
    /// show the loss.
    fn has_new_producer(&self) -> bool {
        self.numbers.iter().any(|(producer, _)| !self.producers.contains(producer))
    }
}

/// Works until `stop`, and then stores once more.
pub(super) async fn run<So: Source, Si: TableSink>(context: Arc<StreamContext<So, Si>>, stop: CancellationToken) {
    let mut kept: HashMap<u32, Kept> = HashMap::new();
    let mut next_purge = Instant::now() + context.config.purge_interval;
    loop {
        let last = tokio::select! {
            biased;
            () = stop.cancelled() => true,
            () = tokio::time::sleep(context.config.progress_interval) => false,
        };
        let purge = Instant::now() >= next_purge;
        if purge {
            next_purge = Instant::now() + context.config.purge_interval;
        }
        for shard in context.shards() {
            let kept = kept.entry(shard.shard.index).or_insert_with(|| Kept::new(&shard));
            store(&context, &shard, kept).await;
            if is_suspected(&context, &shard) {
                shard.went_back.cancel();
            }
            if purge || last || kept.has_new_producer() {
                number(&context, &shard, kept).await;
            }
            if purge && !last && !went_back(&context, &shard).await {
                free(&context, &shard, kept).await;
            }
        }
        if last {
            return;
        }
    }
}

/// Whether a proxy says that what was read last, or comes next, is of a new history.
fn is_suspected<So: Source, Si: TableSink>(context: &StreamContext<So, Si>, state: &ShardState) -> bool {
    let suspicion = context.source.suspicion(&state.shard, state.incarnation);
    suspicion.is_some_and(|suspicion| distance(state.newest(), suspicion.position) <= 1)
}

async fn store<So: Source, Si: TableSink>(context: &StreamContext<So, Si>, state: &ShardState, kept: &mut Kept) {
    let Some(Checkpoint { incarnation, sequence, at }) = state.committed().filter(|at| at.sequence > kept.stored)
    else {
        return;
    };
    let numbers = state.contained();
    let progress = Progress { incarnation, sequence, at };
    match context.source.save_progress(&state.shard, progress).await {
        Ok(()) => (kept.stored, kept.numbers) = (sequence, numbers),
        Err(error) => tracing::warn!(shard = %state.shard, %error, "cannot store the low watermark"),
    }
}

/// Stores the producers' numbers, before the messages that they are from may be freed.
async fn number<So: Source, Si: TableSink>(context: &StreamContext<So, Si>, state: &ShardState, kept: &mut Kept) {
    if kept.numbered == kept.stored {
        return;
    }
    if kept.numbers.is_empty() {
        kept.numbered = kept.stored;
        return;
    }
    match context.source.save_numbers(&state.shard, state.incarnation, &kept.numbers).await {
        Ok(()) => {
            kept.numbered = kept.stored;
            kept.producers = kept.numbers.iter().map(|(producer, _)| *producer).collect();
        }
        Err(error) => tracing::warn!(shard = %state.shard, %error, "cannot store the producers' numbers"),
    }
}

/// Whether the log is not what was committed, or that cannot be known now: then nothing may be freed, since it might be
/// what nobody has read. Finds what a reader cannot see whose connection never broke.
async fn went_back<So: Source, Si: TableSink>(context: &StreamContext<So, Si>, state: &ShardState) -> bool {
    let Some(committed) = state.committed() else { return false };
    let lost = match rewound::went_back(context, &state.shard, committed).await {
        Ok(lost) => lost,
        Err(error) => {
            tracing::warn!(shard = %state.shard, %error, "cannot compare the log with what is committed");
            return true;
        }
    };
    let known = context.source.rewinds(&state.shard, state.incarnation).await;
    let lost = lost || known.is_ok_and(|known| known.newest_shift() != state.shift);
    if lost {
        state.went_back.cancel();
    }
    lost
}

/// Only messages before the one whose place is stored as the watermark: a restart must find every message after it, and
/// compares that very one to notice that the log went back. And only messages whose producers' numbers are stored.
async fn free<So: Source, Si: TableSink>(context: &StreamContext<So, Si>, state: &ShardState, kept: &mut Kept) {
    let through = state.purgeable(kept.stored, context.retention_nanos()).min(kept.numbered.saturating_sub(1));
    if through <= kept.purged {
        return;
    }
    match context.source.purge_through(&state.shard, state.incarnation, through).await {
        Ok(()) => kept.purged = through,
        Err(error) => tracing::warn!(shard = %state.shard, %error, "cannot free committed messages"),
    }
}
