//! One stream: its shard readers, its tables, the keeper of its progress. All wiring is in [`run`].

mod context;
mod gauges;
mod keeper;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use frazil_core::Shard;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::router::Router;
use crate::shard::{self, ShardEnd};
use crate::sink::TableSink;
use crate::source::Source;
use crate::table::{self, Abandon};

pub(crate) use context::{Shared, StreamContext};

/// Why a pipeline ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipelineError {
    /// A table's batch was given up.
    #[error(transparent)]
    Abandoned(#[from] Abandon),
    /// A shard is gone.
    #[error(transparent)]
    Shard(#[from] ShardEnd),
    /// A task panicked: a defect.
    #[error("a task of the pipeline failed: {0}")]
    Task(#[from] JoinError),
}

impl PipelineError {
    /// Label for the restart metric.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::Abandoned(abandon) => abandon.cause(),
            Self::Shard(ShardEnd::Rewound(_)) => "log_rewound",
            Self::Shard(ShardEnd::Overtaken(_)) => "fenced",
            Self::Shard(ShardEnd::Recreated(_) | ShardEnd::Deleted(_)) => "shard",
            Self::Task(_) => "panic",
        }
    }
}

/// Runs the stream until `stop`, then drains.
///
/// On an error everything is dropped at once, wherever it is: what is not committed is read again by the next run.
/// That is also what a crash does, and it is always correct. Only if the log went back is everything drained first: what
/// was read and is not committed may be nowhere else any more.
pub(crate) async fn run<So: Source, Si: TableSink>(
    context: Arc<StreamContext<So, Si>>,
    shards: Vec<Shard>,
    stop: CancellationToken,
) -> Result<(), PipelineError> {
    let (router, mut births) = Router::new();
    let router = Arc::new(router);
    let (mut readers, mut tables, mut keeper) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
    let halt = stop.child_token();
    for shard in shards {
        readers.spawn(shard::run(Arc::clone(&context), shard, Arc::clone(&router), halt.clone()));
    }
    let mut went_back = None;
    let keep = CancellationToken::new();
    keeper.spawn(keeper::run(Arc::clone(&context), keep.clone()));
    keeper.spawn(gauges::run(Arc::clone(&context), keep.clone()));
    while !(halt.is_cancelled() && readers.is_empty()) {
        // In order, here and wherever tasks choose, so that a simulated history depends on its seed alone.
        tokio::select! {
            biased;
            Some(birth) = births.recv() => {
                tables.spawn(table::run(Arc::clone(&context), Arc::clone(&router), birth));
            }
            Some(ended) = readers.join_next() => match ended? {
                Err(ShardEnd::Rewound(shard)) => {
                    went_back = Some(shard);
                    halt.cancel();
                }
                ended => ended?,
            },
            Some(ended) = tables.join_next() => ended??,
            Some(ended) = keeper.join_next() => ended?,
            () = halt.cancelled(), if readers.is_empty() => {}
        }
    }
    // Births that were asked for just before the readers ended.
    while let Ok(birth) = births.try_recv() {
        tables.spawn(table::run(Arc::clone(&context), Arc::clone(&router), birth));
    }
    router.close();
    let drained = timeout(context.config.drain_deadline, async {
        while let Some(ended) = tables.join_next().await {
            ended??;
        }
        Ok::<(), PipelineError>(())
    });
    match drained.await {
        Ok(end) => end?,
        Err(_elapsed) => {
            let stream = context.stream_name();
            tracing::warn!(%stream, tables = tables.len(), "drain deadline missed; what is open is read again later");
        }
    }
    keep.cancel();
    let kept = timeout(context.config.drain_deadline, async {
        while let Some(ended) = keeper.join_next().await {
            ended?;
        }
        Ok::<(), PipelineError>(())
    });
    kept.await.unwrap_or(Ok(()))?;
    went_back.map_or(Ok(()), |shard| Err(ShardEnd::Rewound(shard).into()))
}
