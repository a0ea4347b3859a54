//! The real [`Source`]: shards of `frazil-log`. Only forwards.

use frazil_core::Shard;
use frazil_core::checkpoint::{Checkpoint, Incarnation, Sequence};
use frazil_core::rewind::{Loss, Rewind, Rewinds, Suspicion};
use frazil_core::stream::{CommitNotice, Progress};
use frazil_log::{Log, LogError, Message, ReadError, ReadMode, ShardInfo, ShardReader, Standing, Start};
use uuid::Uuid;

use super::{History, Source, SourceReader};

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

impl History for JetStreamSource {
    async fn confirm(&self, shard: &Shard, witness: Checkpoint) -> Result<Standing, LogError> {
        self.log.confirm(shard, witness).await
    }

    async fn rewinds(&self, shard: &Shard, incarnation: Incarnation) -> Result<Rewinds, LogError> {
        self.log.rewinds(shard, incarnation).await
    }

    async fn record_rewind(
        &self,
        shard: &Shard,
        witness: Checkpoint,
        detected: i64,
    ) -> Result<Option<Rewind>, LogError> {
        self.log.record_rewind(shard, witness, detected).await
    }

    fn suspicion(&self, shard: &Shard, incarnation: Incarnation) -> Option<Suspicion> {
        self.log.suspicion(shard, incarnation)
    }

    async fn record_split(&self, shard: &Shard, read: Checkpoint, detected: i64) -> Result<Option<Rewind>, LogError> {
        self.log.record_split(shard, read, detected).await
    }

    async fn save_numbers(
        &self,
        shard: &Shard,
        incarnation: Incarnation,
        numbers: &[(Uuid, u64)],
    ) -> Result<(), LogError> {
        self.log.save_numbers(shard, incarnation, numbers).await
    }

    async fn numbers(&self, shard: &Shard, incarnation: Incarnation) -> Result<Vec<(Uuid, u64)>, LogError> {
        self.log.numbers(shard, incarnation).await
    }

    async fn record_loss(&self, shard: &Shard, loss: &Loss) -> Result<(), LogError> {
        self.log.record_loss(shard, loss).await
    }
}

impl SourceReader for ShardReader {
    fn incarnation(&self) -> Incarnation {
        Self::incarnation(self)
    }

    fn expect(&mut self, witness: Checkpoint) {
        Self::expect(self, witness);
    }

    async fn next(&mut self) -> Result<Message, ReadError> {
        Self::next(self).await
    }
}
