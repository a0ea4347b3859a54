//! The seam to the log: what the proxy needs of it, and what may come back.
//!
//! The real thing is in [`crate::jetstream`], the in-memory one in [`memory`]. An acknowledgement is a [`Stored`], which
//! only an implementation in this crate can make: no other code can claim that something is durable.

pub mod memory;

use std::fmt::Debug;
use std::time::Duration;

use frazil_core::Shard;
use frazil_core::checkpoint::{Incarnation, Sequence};
use frazil_core::envelope::EncodedEnvelope;
use frazil_core::stream::{CommitNotice, Progress};
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// Proof that an envelope is durable, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    incarnation: Incarnation,
    sequence: Sequence,
}

impl Stored {
    pub(crate) fn new(incarnation: Incarnation, sequence: Sequence) -> Self {
        Self { incarnation, sequence }
    }

    /// Incarnation of the shard that stored it.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Its sequence in the shard.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }
}

/// Why an attempt to publish gave no acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The log of the shard is at its bound. Certainly not stored.
    #[error("the log is full")]
    Full,
    /// The message is larger than the server takes. Certainly not stored; trying again is in vain.
    #[error("the message is too large for the log: {0}")]
    TooLarge(String),
    /// Nobody answers for the shard: deleted, or without a leader just now. Certainly not stored.
    #[error("no log answers for the shard")]
    NoShard,
    /// The log said no. Certainly not stored.
    #[error("the log refused the message: {0}")]
    Refused(String),
    /// The message did not leave this process. Certainly not stored.
    #[error("the message could not be sent: {0}")]
    NotSent(String),
    /// No answer came. **Perhaps stored.**
    #[error("the log did not answer: {0}")]
    Unknown(String),
}

impl PublishError {
    /// Short name for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::TooLarge(_) => "too_large",
            Self::NoShard => "no_shard",
            Self::Refused(_) => "refused",
            Self::NotSent(_) => "not_sent",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// The log could not be asked. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log is unavailable: {0}")]
pub struct LogUnavailable(pub String);

/// Commit notices of every shard, as they come.
pub type Notices = BoxStream<'static, (Shard, CommitNotice)>;

/// The log, as far as the proxy needs it.
pub trait EventLog: Debug + Send + Sync + 'static {
    /// Whether the log can be reached just now.
    fn is_connected(&self) -> bool;

    /// Largest message the log takes, headers included, in bytes.
    fn max_message_bytes(&self) -> usize;

    /// Opens one shard for publishing.
    fn open<'a>(&'a self, shard: &'a Shard) -> BoxFuture<'a, Result<Box<dyn Publisher>, PublishError>>;

    /// The present incarnation of a shard, `None` if there is no such shard.
    fn incarnation<'a>(&'a self, shard: &'a Shard) -> BoxFuture<'a, Result<Option<Incarnation>, LogUnavailable>>;

    /// The low watermark of a shard.
    fn progress<'a>(&'a self, shard: &'a Shard) -> BoxFuture<'a, Result<Option<Progress>, LogUnavailable>>;

    /// Whether the log has lost the message at a position of this incarnation, as far as is known: what came after it
    /// proves nothing about it.
    fn is_lost(&self, shard: &Shard, incarnation: Incarnation, position: Sequence) -> bool;

    /// Subscribes to commit notices. Notices may be lost; the stream may end when the log is closed.
    fn notices(&self) -> BoxFuture<'_, Result<Notices, LogUnavailable>>;
}

/// One shard of the log, open for publishing.
pub trait Publisher: Debug + Send + Sync {
    /// The incarnation that was found when the shard was opened.
    fn incarnation(&self) -> Incarnation;

    /// Publishes an envelope. Publishing the same envelope again inside the log's duplicate window stores it once.
    fn publish<'a>(
        &'a self,
        envelope: &'a EncodedEnvelope,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Stored, PublishError>>;
}
