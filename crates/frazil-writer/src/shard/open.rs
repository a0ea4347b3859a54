//! Opening a shard: its low watermark, and what is remembered of the log before it.

use std::sync::Arc;

use frazil_core::Shard;
use frazil_core::checkpoint::Sequence;
use frazil_core::stream::Progress;
use frazil_log::{LogError, ReadError, ReadMode, ShardInfo, Start};

use super::ShardState;
use super::examine::Examiner;
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
    let info = context.source.describe(shard).await?.ok_or(OpenError::Missing)?;
    let watermark = watermark(&info, context.source.progress(shard).await?);
    let examiner = remember(context, shard, &info, watermark).await?;
    let reader = context.source.open(shard, Start::Sequence(watermark + 1), ReadMode::Full).await?;
    if reader.incarnation() != info.incarnation {
        return Err(OpenError::Changed);
    }
    tracing::info!(%shard, incarnation = %info.incarnation, watermark, last = info.last_sequence, "reading shard");
    let state = Arc::new(ShardState::new(shard.clone(), info.incarnation, watermark, examiner.oldest_needed()));
    Ok(Opened { state, examiner, reader })
}

/// The stored low watermark if it is of this incarnation, else the beginning.
fn watermark(info: &ShardInfo, stored: Option<Progress>) -> Sequence {
    match stored {
        Some(progress) if progress.incarnation == info.incarnation => progress.sequence,
        Some(_) | None => info.first_sequence.saturating_sub(1),
    }
}

/// Rebuilds what the messages up to the low watermark left behind: the dedupe window and the producers' numbers.
async fn remember<So: Source, Si: TableSink>(
    context: &StreamContext<So, Si>,
    shard: &Shard,
    info: &ShardInfo,
    watermark: Sequence,
) -> Result<Examiner, OpenError> {
    let window_nanos = context.window_nanos();
    let examiner = |complete| Examiner::new(shard.clone(), window_nanos, complete, context.unreadable_table.clone());
    if info.messages == 0 || info.first_sequence > watermark {
        return Ok(examiner(watermark == 0));
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
    let mut examiner = examiner(message.sequence == 1);
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
        let stored = |incarnation, sequence| Some(Progress { incarnation: Incarnation(incarnation), sequence });
        assert_eq!(watermark(&info, stored(2, 7)), 7);
        assert_eq!(watermark(&info, stored(1, 7)), 4);
        assert_eq!(watermark(&info, None), 4);
        assert_eq!(watermark(&ShardInfo { first_sequence: 0, ..info }, None), 0);
    }
}
