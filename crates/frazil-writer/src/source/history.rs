//! The part of the seam to the log by which the writer notices that the log went back: see [`frazil_core::rewind`].

use std::future::Future;

use frazil_core::Shard;
use frazil_core::checkpoint::{Checkpoint, Incarnation};
use frazil_core::rewind::{Loss, Rewind, Rewinds, Suspicion};
use frazil_log::{LogError, Standing};
use uuid::Uuid;

/// What the log can say about its own past.
pub trait History: Send + Sync {
    /// Whether the log still holds what `witness` has seen.
    fn confirm(&self, shard: &Shard, witness: Checkpoint) -> impl Future<Output = Result<Standing, LogError>> + Send;

    /// The recorded rewinds of a shard.
    fn rewinds(
        &self,
        shard: &Shard,
        incarnation: Incarnation,
    ) -> impl Future<Output = Result<Rewinds, LogError>> + Send;

    /// Records that the log went back, as `witness` shows, unless that is recorded or not so. `detected` is the time in
    /// microseconds since the Unix epoch. Returns the rewind if it is news.
    fn record_rewind(
        &self,
        shard: &Shard,
        witness: Checkpoint,
        detected: i64,
    ) -> impl Future<Output = Result<Option<Rewind>, LogError>> + Send;

    /// What a proxy has noticed and nobody has dealt with.
    fn suspicion(&self, shard: &Shard, incarnation: Incarnation) -> Option<Suspicion>;

    /// Settles a suspicion: everything after `read`, which is all that any table has been given, is of a new history.
    /// Returns the rewind if there is one.
    fn record_split(
        &self,
        shard: &Shard,
        read: Checkpoint,
        detected: i64,
    ) -> impl Future<Output = Result<Option<Rewind>, LogError>> + Send;

    /// Notes that all envelopes of these producers, up to these numbers, are in their tables.
    fn save_numbers(
        &self,
        shard: &Shard,
        incarnation: Incarnation,
        numbers: &[(Uuid, u64)],
    ) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Up to which number all envelopes of a producer are in their tables, as far as that was noted.
    fn numbers(
        &self,
        shard: &Shard,
        incarnation: Incarnation,
    ) -> impl Future<Output = Result<Vec<(Uuid, u64)>, LogError>> + Send;

    /// Adds a loss to those on record.
    fn record_loss(&self, shard: &Shard, loss: &Loss) -> impl Future<Output = Result<(), LogError>> + Send;
}
