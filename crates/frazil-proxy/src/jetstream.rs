//! The real log: [`EventLog`] over `frazil_log`. Translates, decides nothing.

use std::time::Duration;

use frazil_core::Shard;
use frazil_core::checkpoint::{Incarnation, Sequence};
use frazil_core::envelope::EncodedEnvelope;
use frazil_core::stream::Progress;
use frazil_log::{Log, LogError, ShardPublisher};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};

use crate::publish::{EventLog, LogUnavailable, Notices, PublishError, Publisher, Stored};

/// The log on JetStream.
#[derive(Debug, Clone)]
pub struct JetStream {
    log: Log,
}

impl JetStream {
    /// Uses a connection.
    pub fn new(log: Log) -> Self {
        Self { log }
    }
}

impl EventLog for JetStream {
    fn is_connected(&self) -> bool {
        self.log.is_connected()
    }

    fn max_message_bytes(&self) -> usize {
        self.log.max_payload()
    }

    fn open<'a>(&'a self, shard: &'a Shard) -> BoxFuture<'a, Result<Box<dyn Publisher>, PublishError>> {
        async move {
            let opened = ShardPublisher::open(&self.log, shard).await;
            let publisher = opened.map_err(|error| open_error(&error))?;
            Ok(Box::new(publisher) as Box<dyn Publisher>)
        }
        .boxed()
    }

    fn incarnation<'a>(&'a self, shard: &'a Shard) -> BoxFuture<'a, Result<Option<Incarnation>, LogUnavailable>> {
        async move { Ok(self.log.shard_info(shard).await.map_err(unavailable)?.map(|info| info.incarnation)) }.boxed()
    }

    fn progress<'a>(&'a self, shard: &'a Shard) -> BoxFuture<'a, Result<Option<Progress>, LogUnavailable>> {
        async move { self.log.control().progress(shard).await.map_err(unavailable) }.boxed()
    }

    fn is_lost(&self, shard: &Shard, incarnation: Incarnation, position: Sequence) -> bool {
        self.log.is_lost(shard, incarnation, position)
    }

    fn notices(&self) -> BoxFuture<'_, Result<Notices, LogUnavailable>> {
        async move {
            let notices = self.log.subscribe_commits().await.map_err(unavailable)?;
            let stream = futures::stream::unfold(notices, |mut notices| async {
                let notice = notices.next().await?;
                Some((notice, notices))
            });
            Ok(stream.boxed())
        }
        .boxed()
    }
}

impl Publisher for ShardPublisher {
    fn incarnation(&self) -> Incarnation {
        Self::incarnation(self)
    }

    fn publish<'a>(
        &'a self,
        envelope: &'a EncodedEnvelope,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Stored, PublishError>> {
        async move {
            let stored = Self::publish(self, envelope, timeout).await.map_err(|error| publish_error(&error))?;
            Ok(Stored::new(Self::incarnation(self), stored.sequence))
        }
        .boxed()
    }
}

fn publish_error(error: &frazil_log::PublishError) -> PublishError {
    use frazil_log::PublishError as Log;
    match error {
        Log::Full => PublishError::Full,
        Log::TooLarge(_) => PublishError::TooLarge(with_sources(error)),
        Log::NoShard => PublishError::NoShard,
        Log::Refused(_) => PublishError::Refused(with_sources(error)),
        Log::NotSent(_) => PublishError::NotSent(with_sources(error)),
        Log::Unknown(_) => PublishError::Unknown(with_sources(error)),
    }
}

/// Opening asks for the shard's description and stores nothing, so whatever happened, nothing was stored.
fn open_error(error: &LogError) -> PublishError {
    match error {
        LogError::NotFound(_) => PublishError::NoShard,
        LogError::Config(_)
        | LogError::Unavailable { .. }
        | LogError::Refused { .. }
        | LogError::AlreadyExists(_)
        | LogError::Recreated(_)
        | LogError::Malformed { .. } => PublishError::NotSent(with_sources(error)),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn unavailable(error: LogError) -> LogUnavailable {
    LogUnavailable(with_sources(&error))
}

/// The error with all its sources in one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}
