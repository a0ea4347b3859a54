//! Shows how far behind a stream is: asks the log how far it goes, sets the gauges, says what memory waits for.
//!
//! Changes nothing of the stream. What it shows may be some seconds old.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use frazil_core::TableName;
use futures::StreamExt;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::StreamContext;
use crate::metrics::ShardLabel;
use crate::progress::Uncommitted;
use crate::sink::TableSink;
use crate::source::Source;
use crate::status::Problem;

/// How often the log is asked how far its shards go, and how long it may take to answer.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Shards that the log is asked about at the same time.
const ASKED_AT_ONCE: usize = 16;

/// Reading that waits for memory this long is reported: the tables do not get rid of what they have.
const STARVED_AFTER: Duration = Duration::from_secs(10);

/// Works until `stop`.
pub(super) async fn run<So: Source, Si: TableSink>(context: Arc<StreamContext<So, Si>>, stop: CancellationToken) {
    let mut next_look = Instant::now() + LOG_INTERVAL;
    let mut _starved: Option<Problem>;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(context.config.progress_interval) => {}
        }
        if Instant::now() >= next_look {
            next_look = Instant::now() + LOG_INTERVAL;
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = look(&context) => {}
            }
        }
        show(&context);
        _starved = match context.budget.starved_for() {
            Some(time) if time >= STARVED_AFTER => Some(full(&context, time)),
            Some(_) | None => None,
        };
    }
}

fn full<So: Source, Si: TableSink>(context: &StreamContext<So, Si>, time: Duration) -> Problem {
    let (mebibytes, seconds) = (context.budget.total_bytes() >> 20, time.as_secs());
    let reason = format!("all {mebibytes} MiB hold events that wait for commits; reading has waited for {seconds} s");
    context.status.raise("memory", reason)
}

/// Asks the log about every open shard.
async fn look<So: Source, Si: TableSink>(context: &StreamContext<So, Si>) {
    let asked = context.shards().into_iter().map(|state| async move {
        let info = timeout(LOG_INTERVAL, context.source.describe(&state.shard)).await;
        if let Ok(Ok(Some(info))) = info {
            state.seen(&info);
        }
    });
    futures::stream::iter(asked).for_each_concurrent(ASKED_AT_ONCE, |ask| ask).await;
}

fn show<So: Source, Si: TableSink>(context: &StreamContext<So, Si>) {
    let (label, metrics) = (context.stream_label(), &context.metrics);
    let now_nanos = context.clock.unix_nanos();
    let (mut oldest, mut tables) = (None::<Instant>, BTreeMap::<TableName, Uncommitted>::new());
    for state in context.shards() {
        let shard = ShardLabel { stream: label.stream.clone(), shard: state.shard.index };
        let lag = state.lag(now_nanos);
        let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        metrics.lag.get_or_create(&shard).set(whole(lag.messages));
        metrics.lag_events.get_or_create(&shard).set(whole(lag.events));
        metrics.lag_bytes.get_or_create(&shard).set(whole(lag.bytes));
        metrics.lag_seconds.get_or_create(&shard).set(lag.seconds);
        let progress = state.progress();
        for (table, uncommitted) in progress.uncommitted() {
            tables.entry(table.clone()).or_default().merge(&uncommitted);
        }
        oldest = oldest.into_iter().chain(progress.oldest()).min();
    }
    let age = oldest.map_or(0.0, |at| at.elapsed().as_secs_f64());
    metrics.oldest_age.get_or_create(&label).set(age);
    metrics.table_series.refresh(&label.stream, tables);
    metrics.memory.set(i64::try_from(context.budget.used_bytes()).unwrap_or(i64::MAX));
    metrics.memory_limit.set(i64::try_from(context.budget.total_bytes()).unwrap_or(i64::MAX));
}
