//! All streams of the directory: one pipeline each, restarted with backoff, restarted when the definition changes,
//! drained when the stream is deleted or the writer stops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use frazil_core::StreamName;
use frazil_core::stream::StreamDefinition;
use frazil_iceberg::Catalogs;
use frazil_log::{Directory, Log};
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::budget::Budget;
use crate::clock::WallClock;
use crate::config::{ConfigError, WriterConfig};
use crate::metrics::{CauseLabel, Metrics};
use crate::pipeline::{self, Shared, StreamContext};
use crate::sink::{IcebergSink, TableSink};
use crate::source::{JetStreamSource, Source};
use crate::status::{StatusBoard, WriterStatus};

/// A pipeline that ran this long starts over without a grown wait.
const HEALTHY_AFTER: std::time::Duration = std::time::Duration::from_secs(60);

/// Why a writer ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// The settings are unusable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A task panicked: a defect.
    #[error("a task of the writer failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// A writer: owns its part of every stream's shards.
#[derive(Debug)]
pub struct Writer {
    shared: Shared<JetStreamSource, IcebergSink>,
    directory: Directory,
}

impl Writer {
    /// Builds a writer and registers its metrics.
    ///
    /// # Errors
    /// [`WriterError::Config`].
    pub fn build(
        config: WriterConfig,
        log: Log,
        directory: Directory,
        catalogs: Catalogs,
        registry: &mut Registry,
    ) -> Result<Self, WriterError> {
        config.validate()?;
        let metrics = Metrics::default();
        metrics.register(registry);
        let shared = Shared {
            source: JetStreamSource::new(log, config.read_ahead_bytes),
            default_catalog: catalogs.default_name().to_owned(),
            sink: IcebergSink::new(catalogs),
            budget: Budget::new(config.memory_bytes),
            flushes: Arc::new(Semaphore::new(config.concurrent_flushes)),
            config: Arc::new(config),
            metrics,
            status: StatusBoard::default(),
            clock: WallClock::starting_at(SystemTime::now()),
        };
        Ok(Self { shared, directory })
    }

    /// Follows the writer's condition.
    pub fn status(&self) -> watch::Receiver<WriterStatus> {
        self.shared.status.watch()
    }

    /// Works until `cancel`, then drains and returns.
    ///
    /// # Errors
    /// [`WriterError::Task`].
    pub async fn run(self, cancel: CancellationToken) -> Result<(), WriterError> {
        supervise(self.shared, self.directory, cancel).await
    }
}

/// A stream's running supervisor.
struct Running {
    definition: Arc<StreamDefinition>,
    stop: CancellationToken,
}

/// Keeps one task per stream of the directory that has shards of this writer.
pub(crate) async fn supervise<So: Source, Si: TableSink>(
    shared: Shared<So, Si>,
    directory: Directory,
    cancel: CancellationToken,
) -> Result<(), WriterError> {
    let mut changes = directory.changes();
    // The directory ends when the whole process stops; its last state stays valid.
    let mut live = true;
    let mut running: BTreeMap<StreamName, Running> = BTreeMap::new();
    let mut tasks: JoinSet<StreamName> = JoinSet::new();
    while !cancel.is_cancelled() {
        reconcile(&shared, &directory.streams(), &mut running, &mut tasks);
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            changed = changes.changed(), if live => live = changed.is_ok(),
            Some(ended) = tasks.join_next() => {
                running.remove(&ended?);
            }
        }
    }
    running.values().for_each(|stream| stream.stop.cancel());
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    Ok(())
}

/// Starts what is new; stops what is gone or has another definition. What was stopped is started again, if it is
/// still wanted, once it has drained.
fn reconcile<So: Source, Si: TableSink>(
    shared: &Shared<So, Si>,
    wanted: &[Arc<StreamDefinition>],
    running: &mut BTreeMap<StreamName, Running>,
    tasks: &mut JoinSet<StreamName>,
) {
    for (name, stream) in running.iter() {
        if !wanted.contains(&stream.definition) && !stream.stop.is_cancelled() {
            tracing::info!(stream = %name, "stream changed or deleted; draining");
            stream.stop.cancel();
        }
    }
    let (ordinal, replicas) = (shared.config.ordinal, shared.config.replicas);
    for definition in wanted {
        let owned = definition.owned_shards(ordinal, replicas).next().is_some();
        if owned && !running.contains_key(&definition.name) {
            let stop = CancellationToken::new();
            let stream = Running { definition: Arc::clone(definition), stop: stop.clone() };
            running.insert(definition.name.clone(), stream);
            tasks.spawn(run_stream(shared.clone(), Arc::clone(definition), stop));
        }
    }
}

/// Runs the pipeline of one stream, again and again, until `stop`.
pub(crate) async fn run_stream<So: Source, Si: TableSink>(
    shared: Shared<So, Si>,
    definition: Arc<StreamDefinition>,
    stop: CancellationToken,
) -> StreamName {
    let name = definition.name.clone();
    let mut failures = 0;
    loop {
        let started = Instant::now();
        let context = Arc::new(StreamContext::new(&shared, Arc::clone(&definition)));
        let shards = definition.owned_shards(shared.config.ordinal, shared.config.replicas).collect();
        let Err(error) = pipeline::run(context, shards, stop.clone()).await else {
            shared.metrics.forget_stream(name.as_str(), 0..definition.shards);
            return name;
        };
        failures = if started.elapsed() >= HEALTHY_AFTER { 1 } else { failures + 1 };
        tracing::error!(stream = %name, %error, failures, "pipeline abandoned; starting over from the low watermark");
        let cause = CauseLabel { stream: name.to_string(), cause: error.cause() };
        shared.metrics.restarts.get_or_create(&cause).inc();
        let _problem = shared.status.raise(format!("stream {name}"), error.to_string());
        tokio::select! {
            biased;
            () = stop.cancelled() => return name,
            () = tokio::time::sleep(shared.config.backoff.wait(failures)) => {}
        }
    }
}
