//! Announcements of commits: core NATS messages, not stored, so a hint only.

use async_nats::Subscriber;
use frazil_core::Shard;
use frazil_core::stream::CommitNotice;
use futures::StreamExt;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::connect::Log;
use crate::error::LogError;

/// Matches [`Shard::committed_subject`] of every shard.
const ALL_COMMITS: &str = "frazil.committed.*.*";

/// Announcements of all shards from the subscription on. Some may be lost.
#[derive(Debug)]
pub struct CommitNotices {
    subscriber: Subscriber,
}

impl CommitNotices {
    /// The next announcement; `None` once the connection was closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<(Shard, CommitNotice)> {
        while let Some(message) = self.subscriber.next().await {
            match parse(&message.subject, &message.payload) {
                Some(notice) => return Some(notice),
                None => tracing::debug!(subject = %message.subject, "ignoring a malformed commit notice"),
            }
        }
        None
    }
}

impl Log {
    /// Announces a commit.
    ///
    /// # Errors
    /// `Unavailable`; losing it is harmless.
    pub async fn announce_commit(&self, shard: &Shard, notice: &CommitNotice) -> Result<(), LogError> {
        let payload = serde_json::to_vec(notice).expect("a notice has only plain values");
        let publish = self.client().publish(shard.committed_subject(), payload.into());
        publish.await.map_err(|error| LogError::unavailable("announce a commit", error))
    }

    /// Listens to the announcements of all shards.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn subscribe_commits(&self) -> Result<CommitNotices, LogError> {
        const OPERATION: &str = "subscribe to commits";
        let subscriber = self.client().subscribe(ALL_COMMITS).await;
        let subscriber = subscriber.map_err(|error| LogError::unavailable(OPERATION, error))?;
        // The server handles a connection's commands in order, so its answer proves that the subscription is active;
        // flushing would prove only that the command has left. Whether the answer is good does not matter.
        let _: Result<IgnoredAny, _> = self.api(OPERATION, "INFO".to_owned(), &json!({})).await?;
        Ok(CommitNotices { subscriber })
    }
}

fn parse(subject: &str, payload: &[u8]) -> Option<(Shard, CommitNotice)> {
    let (rest, index) = subject.rsplit_once('.')?;
    let (_, stream) = rest.rsplit_once('.')?;
    let shard = Shard::new(stream.parse().ok()?, index.parse().ok()?);
    Some((shard, serde_json::from_slice(payload).ok()?))
}
