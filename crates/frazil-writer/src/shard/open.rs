//! Opening a shard: its low watermark, and what is remembered of the log before it.

use std::sync::{Arc, Mutex};

use frazil_core::Shard;
use frazil_core::checkpoint::{Checkpoint, Sequence};
use frazil_core::rewind::HISTORY;
use frazil_core::stream::Progress;
use frazil_log::{LogError, ReadError, ReadMode, ShardInfo, Start};

use super::examine::Examiner;
use super::marks::Marks;
use super::{ShardState, rewound};
use crate::pipeline::StreamContext;
use crate::sink::TableSink;
use crate::source::{Source, SourceReader};

pub(super) struct Opened<R> {
    pub(super) state: Arc<ShardState>,
    pub(super) examiner: Examiner,
    /// Yields the messages after the low watermark.
    pub(super) reader: R,
}

/// Why a try to open the shard failed.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("the shard does not exist (yet)")]
    Missing,
    #[error("the shard was replaced while it was opened")]
    Changed,
    /// What it has committed is freed already.
    #[error("another writer of the shard was faster")]
    Overtaken,
    #[error("the log went back")]
    Rewound,
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Opens the shard; tries until it works.
pub(super) async fn open<So: Source, Si: TableSink>(
    context: &StreamContext<So, Si>,
    shard: &Shard,
) -> Opened<So::Reader> {
    let mut failures = 0;
    let mut problem = None;
    loop {
        match try_open(context, shard).await {
            Ok(opened) => {
                drop(problem);
                return opened;
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%shard, %error, failures, "cannot open the shard");
                problem = Some(context.status.raise(format!("shard {shard}"), error.to_string()));
                tokio::time::sleep(context.config.backoff.wait(failures)).await;
            }
        }
    }
}

async fn try_open<So: Source, Si: TableSink>(
    context: &StreamContext<So, Si>,
    shard: &Shard,
) -> Result<Opened<So::Reader>, OpenError> {
    // The watermark first: the log is described as it was when all up to the watermark was in it already.
    let stored = context.source.progress(shard).await?;
    let info = context.source.describe(shard).await?.ok_or(OpenError::Missing)?;
    let overtaken = info.first_sequence > watermark(&info, stored) + 1;
    if overtaken && context.source.progress(shard).await? != stored {
        return Err(OpenError::Overtaken);
    }
    let stored = stored.filter(|stored| stored.incarnation == info.incarnation);
    if let Some(stored) = stored
        && rewound::went_back(context, shard, stored.checkpoint()).await?
    {
        return Err(OpenError::Rewound);
    }
    let watermark = watermark(&info, stored);
    let before = Checkpoint { incarnation: info.incarnation, sequence: watermark, at: None };
    if rewound::settle(context, shard, stored.map_or(before, |stored| stored.checkpoint())).await? {
        return Err(OpenError::Rewound);
    }
    let rewinds = context.source.rewinds(shard, info.incarnation).await?;
    let mut examiner = remember(context, shard, &info, watermark).await?;
    for (producer, number) in context.source.numbers(shard, info.incarnation).await? {
        examiner.account_for(producer, number);
    }
    let mut reader = context.source.open(shard, Start::Sequence(watermark + 1), ReadMode::Full).await?;
    // Named with its time, so that a rewind shows even if it comes before the first message is read.
    if let Some(stored) = stored {
        reader.expect(stored.checkpoint());
    }
    if reader.incarnation() != info.incarnation {
        return Err(OpenError::Changed);
    }
    tracing::info!(%shard, incarnation = %info.incarnation, watermark, last = info.last_sequence, "reading shard");
    let state = ShardState::new(shard.clone(), info.incarnation, watermark, examiner.oldest_needed());
    let passed = stored.and_then(|stored| Some((stored.sequence, stored.at?)));
    let marks = Mutex::new(Marks::after(passed, examiner.numbers()));
    let state = Arc::new(ShardState { shift: rewinds.newest_shift(), marks, ..state });
    Ok(Opened { state, examiner, reader })
}

/// The stored low watermark if it is of this incarnation, else the beginning.
fn watermark(info: &ShardInfo, stored: Option<Progress>) -> Sequence {
    match stored {
        Some(progress) if progress.incarnation == info.incarnation => progress.sequence,
        Some(_) | None => info.first_sequence.saturating_sub(1),
    }
}

/// Rebuilds what the messages up to the low watermark left behind: the dedupe window and the producers' numbers. The
/// very first message of a shard is the first of its history, however often the log went back to before it.
async fn remember<So: Source, Si: TableSink>(
    context: &StreamContext<So, Si>,
    shard: &Shard,
    info: &ShardInfo,
    watermark: Sequence,
) -> Result<Examiner, OpenError> {
    let window_nanos = context.window_nanos();
    let examiner = |complete| Examiner::new(shard.clone(), window_nanos, complete, context.unreadable_table.clone());
    if info.messages == 0 || info.first_sequence > watermark {
        return Ok(examiner(watermark.is_multiple_of(HISTORY)));
    }
    // "Now" is the first message to be judged, by the log's clock; or the newest there is, which is earlier.
    let anchor = (watermark + 1).min(info.last_sequence);
    let mut reader = context.source.open(shard, Start::Sequence(anchor), ReadMode::HeadersOnly).await?;
    let start = reader.next().await?.timestamp_nanos.saturating_sub(window_nanos);
    let mut reader = context.source.open(shard, Start::Time(start), ReadMode::HeadersOnly).await?;
    if reader.incarnation() != info.incarnation {
        return Err(OpenError::Changed);
    }
    let mut message = reader.next().await?;
    let mut examiner = examiner(message.sequence % HISTORY == 1);
    while message.sequence <= watermark {
        examiner.recall(&message);
        if message.sequence == watermark.min(info.last_sequence) {
            break;
        }
        message = reader.next().await?;
    }
    Ok(examiner)
}

#[cfg(test)]
mod tests {
    use frazil_core::checkpoint::Incarnation;

    use super::*;

    #[test]
    fn the_watermark_of_another_incarnation_is_worth_nothing() {
        let info = ShardInfo {
            incarnation: Incarnation(2),
            first_sequence: 5,
            last_sequence: 9,
            messages: 5,
            bytes: 0,
            max_bytes: 0,
        };
        let stored =
            |incarnation, sequence| Some(Progress { incarnation: Incarnation(incarnation), sequence, at: None });
        assert_eq!(watermark(&info, stored(2, 7)), 7);
        assert_eq!(watermark(&info, stored(1, 7)), 4);
        assert_eq!(watermark(&info, None), 4);
        assert_eq!(watermark(&ShardInfo { first_sequence: 0, ..info }, None), 0);
    }
}
