//! Keeps what a stream has achieved: stores low watermarks, frees what is committed, sets the gauges.
//!
//! All of it may be late or fail: a stale watermark only means that more is read again and skipped.

use std::collections::HashMap;
use std::sync::Arc;

use frazil_core::checkpoint::Sequence;
use frazil_core::stream::Progress;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::StreamContext;
use crate::metrics::ShardLabel;
use crate::shard::ShardState;
use crate::sink::TableSink;
use crate::source::Source;

/// What is stored of one shard.
#[derive(Debug, Default, Clone, Copy)]
struct Kept {
    stored: Sequence,
    purged: Sequence,
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
            let kept = kept.entry(shard.shard.index).or_insert(Kept { stored: shard.watermark, purged: 0 });
            store(&context, &shard, kept).await;
            if purge && !last {
                free(&context, &shard, kept).await;
            }
        }
        gauges(&context);
        if last {
            return;
        }
    }
}

async fn store<So: Source, Si: TableSink>(context: &StreamContext<So, Si>, state: &ShardState, kept: &mut Kept) {
    let sequence = state.progress().watermark();
    if sequence <= kept.stored {
        return;
    }
    let progress = Progress { incarnation: state.incarnation, sequence };
    match context.source.save_progress(&state.shard, progress).await {
        Ok(()) => kept.stored = sequence,
        Err(error) => tracing::warn!(shard = %state.shard, %error, "cannot store the low watermark"),
    }
}

/// Only up to the watermark that is stored: a restart must find every message after it.
async fn free<So: Source, Si: TableSink>(context: &StreamContext<So, Si>, state: &ShardState, kept: &mut Kept) {
    let through = state.purgeable(kept.stored, context.retention_nanos());
    if through <= kept.purged {
        return;
    }
    match context.source.purge_through(&state.shard, state.incarnation, through).await {
        Ok(()) => kept.purged = through,
        Err(error) => tracing::warn!(shard = %state.shard, %error, "cannot free committed messages"),
    }
}

fn gauges<So: Source, Si: TableSink>(context: &StreamContext<So, Si>) {
    let label = context.stream_label();
    let mut oldest: Option<Instant> = None;
    for state in context.shards() {
        let shard = ShardLabel { stream: label.stream.clone(), shard: state.shard.index };
        context.metrics.lag.get_or_create(&shard).set(i64::try_from(state.lag()).unwrap_or(i64::MAX));
        oldest = oldest.into_iter().chain(state.progress().oldest()).min();
    }
    let age = oldest.map_or(0.0, |at| at.elapsed().as_secs_f64());
    context.metrics.oldest_age.get_or_create(&label).set(age);
    context.metrics.memory.set(i64::try_from(context.budget.used_bytes()).unwrap_or(i64::MAX));
}
