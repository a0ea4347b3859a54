//! The seam to the log: read shards in order, store low watermarks, announce commits, free what is committed.
//!
//! One real implementation, [`JetStreamSource`], and one in memory for tests. An implementation decides nothing about
//! events.

#[cfg(test)]
pub(crate) mod fake;
mod history;
mod jetstream;

use std::future::Future;

use frazil_core::Shard;
use frazil_core::checkpoint::{Checkpoint, Incarnation, Sequence};
use frazil_core::stream::{CommitNotice, Progress};
use frazil_log::{LogError, Message, ReadError, ReadMode, ShardInfo, Start};

pub use history::History;
pub use jetstream::JetStreamSource;

/// Where events come from.
pub trait Source: History + Clone + Send + Sync + 'static {
    /// Reads one shard.
    type Reader: SourceReader;

    /// What the log says about a shard, if it exists.
    fn describe(&self, shard: &Shard) -> impl Future<Output = Result<Option<ShardInfo>, LogError>> + Send;

    /// Opens a shard for reading in order.
    fn open(
        &self,
        shard: &Shard,
        start: Start,
        mode: ReadMode,
    ) -> impl Future<Output = Result<Self::Reader, LogError>> + Send;

    /// The stored low watermark of a shard.
    fn progress(&self, shard: &Shard) -> impl Future<Output = Result<Option<Progress>, LogError>> + Send;

    /// Stores the low watermark of a shard. A stale one does no harm.
    fn save_progress(&self, shard: &Shard, progress: Progress) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Tells whoever listens that a commit happened. A hint only.
    fn announce(&self, shard: &Shard, notice: &CommitNotice) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Frees every message up to and including `through`, of this very incarnation only.
    fn purge_through(
        &self,
        shard: &Shard,
        incarnation: Incarnation,
        through: Sequence,
    ) -> impl Future<Output = Result<(), LogError>> + Send;
}

/// Yields every stored message of a shard once, in order.
pub trait SourceReader: Send + 'static {
    /// Incarnation of the shard that is read.
    fn incarnation(&self) -> Incarnation;

    /// What was read last is `witness`, the message before the start, which the log must still hold.
    fn expect(&mut self, witness: Checkpoint);

    /// The next message; waits for ever while there is none. Cancel-safe. After every error but
    /// [`ReadError::Recreated`] and [`ReadError::Shifted`] it is right to call again.
    fn next(&mut self) -> impl Future<Output = Result<Message, ReadError>> + Send;
}
