//! The real [`Source`]: shards of `frazil-log`. Only forwards.

use frazil_core::Shard;
use frazil_core::checkpoint::{Incarnation, Sequence};
use frazil_core::stream::{CommitNotice, Progress};
use frazil_log::{Log, LogError, Message, ReadError, ReadMode, ShardInfo, ShardReader, Start};

use super::{Source, SourceReader};

/// Shards as JetStream streams.
#[derive(Debug, Clone)]
pub struct JetStreamSource {
    log: Log,
    read_ahead_bytes: usize,
}

impl JetStreamSource {
    /// Reads with at most about `read_ahead_bytes` of undelivered messages per shard.
    pub fn new(log: Log, read_ahead_bytes: usize) -> Self {
        Self { log, read_ahead_bytes }
    }
}

impl Source for JetStreamSource {
    type Reader = ShardReader;

    async fn describe(&self, shard: &Shard) -> Result<Option<ShardInfo>, LogError> {
        self.log.shard_info(shard).await
    }

    async fn open(&self, shard: &Shard, start: Start, mode: ReadMode) -> Result<ShardReader, LogError> {
        ShardReader::open(&self.log, shard, start, mode, self.read_ahead_bytes).await
    }

    async fn progress(&self, shard: &Shard) -> Result<Option<Progress>, LogError> {
        self.log.control().progress(shard).await
    }

    async fn save_progress(&self, shard: &Shard, progress: Progress) -> Result<(), LogError> {
        self.log.control().set_progress(shard, progress).await
    }

    async fn announce(&self, shard: &Shard, notice: &CommitNotice) -> Result<(), LogError> {
        self.log.announce_commit(shard, notice).await
    }

    async fn purge_through(&self, shard: &Shard, incarnation: Incarnation, through: Sequence) -> Result<(), LogError> {
        self.log.purge_through(shard, incarnation, through).await.map(drop)
    }
}

impl SourceReader for ShardReader {
    fn incarnation(&self) -> Incarnation {
        Self::incarnation(self)
    }

    async fn next(&mut self) -> Result<Message, ReadError> {
        Self::next(self).await
    }
}
