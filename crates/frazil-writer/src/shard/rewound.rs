//! The log went back: says so and puts it on record, as it does with every loss.

use frazil_core::Shard;
use frazil_core::checkpoint::Checkpoint;
use frazil_core::rewind::{Loss, Rewind, distance};
use frazil_log::{LogError, Standing};

use super::ShardState;
use super::examine::Lost;
use crate::pipeline::StreamContext;
use crate::sink::TableSink;
use crate::source::Source;

/// Records a rewind, as `witness` shows it; tries until it works, or there is nothing to record.
pub(crate) async fn record<So: Source, Si: TableSink>(
    context: &StreamContext<So, Si>,
    shard: &Shard,
    witness: Checkpoint,
) {
    let (mut failures, mut problem) = (0, None);
    loop {
        let error = match context.source.record_rewind(shard, witness, context.clock.unix_micros()).await {
            Ok(Some(rewind)) => {
                drop(problem);
                return announce(context, shard, &rewind);
            }
            // Another writer was faster, or the messages are back.
            Ok(None) | Err(LogError::Recreated(_)) => return,
            Err(error) => error,
        };
        failures += 1;
        tracing::error!(%shard, %error, failures, "ALARM the log went back, and that cannot be recorded");
        problem = Some(context.status.raise(format!("shard {shard}"), format!("cannot record a rewind: {error}")));
        tokio::time::sleep(context.config.backoff.wait(failures)).await;
    }
}

/// Puts on record what a proxy has noticed, if `watermark` shows that everything before it is committed. Returns whether
/// it did.
pub(super) async fn settle<So: Source, Si: TableSink>(
    context: &StreamContext<So, Si>,
    shard: &Shard,
    watermark: Checkpoint,
) -> Result<bool, LogError> {
    let suspicion = context.source.suspicion(shard, watermark.incarnation);
    if suspicion.is_none_or(|suspicion| distance(watermark.sequence, suspicion.position) > 1) {
        return Ok(false);
    }
    let recorded = context.source.record_split(shard, watermark, context.clock.unix_micros()).await?;
    if let Some(rewind) = &recorded {
        announce(context, shard, rewind);
    }
    Ok(recorded.is_some())
}

fn announce<So: Source, Si: TableSink>(context: &StreamContext<So, Si>, shard: &Shard, rewind: &Rewind) {
    let Rewind { from, shift, newest, evidence, .. } = rewind;
    let gone = distance(from - 1, *newest);
    tracing::error!(
        %shard, from, shift, evidence,
        "ALARM the log went back: {gone} messages that had been read or committed are gone from it, and perhaps later \
         ones; new messages have new positions"
    );
    context.metrics.log_rewinds.get_or_create(&context.stream_label()).inc();
}

/// Asks the log whether it still holds what `witness` has seen. A rewind is on record when this returns `true`.
pub(crate) async fn went_back<So: Source, Si: TableSink>(
    context: &StreamContext<So, Si>,
    shard: &Shard,
    witness: Checkpoint,
) -> Result<bool, LogError> {
    match context.source.confirm(shard, witness).await? {
        Standing::Kept | Standing::Unchecked => Ok(false),
        Standing::Rewound { evidence } => {
            tracing::error!(%shard, position = witness.sequence, evidence, "the log is not what was committed");
            record(context, shard, witness).await;
            Ok(true)
        }
    }
}

/// Puts a loss on record, where `frazil doctor` finds it.
pub(super) async fn record_loss<So: Source, Si: TableSink>(
    context: &StreamContext<So, Si>,
    state: &ShardState,
    lost: &Lost,
) {
    let Lost { producer, from, to, seen_at } = *lost;
    let detected = context.clock.unix_micros();
    let loss = Loss { detected, incarnation: state.incarnation, producer, from, to, seen_at };
    if let Err(error) = context.source.record_loss(&state.shard, &loss).await {
        tracing::warn!(shard = %state.shard, %error, "a loss is logged and counted, but cannot be recorded");
    }
}
