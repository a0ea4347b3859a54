//! One batch of a replay into the target: staged, then appended behind the fence of the marks.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow_array::RecordBatch;
use frazil_core::replay::MARKS_MAX_BYTES;
use uuid::Uuid;

use super::batch::Batch;
use super::{Replay, ReplayError};
use crate::columns::Columns;
use crate::sink::{Append, CommitError, FencedProperty, SinkError, SinkTable, Staged, TableSink};

/// Summary key with the dead-letter table that the rows of a commit come from.
const REPLAY: &str = "frazil.replay";
/// Summary key with the number of those rows.
const REPLAY_LETTERS: &str = "frazil.replay-letters";

/// Times that a store or catalog which does not answer is asked, beyond the catalog client's own patience.
const ATTEMPTS_MAX: u32 = 6;
/// First pause between two of them; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(500);

/// Times that one batch may be fenced off; each time another replay has made progress.
const FENCED_MAX: u32 = 100;

impl<Si: TableSink> Replay<Si> {
    /// Commits the open batch, without the letters that another replay was faster with.
    pub(super) async fn commit(&mut self) -> Result<(), ReplayError> {
        for _ in 0..FENCED_MAX {
            if self.batch.letters.is_empty() {
                return Ok(());
            }
            let fence = self.fence()?;
            if self.job.dry_run {
                let batch = self.next_batch()?;
                self.report.replayed += batch.letters.len() as u64;
                return Ok(());
            }
            let table = self.target.table.clone();
            let batch = self.next_batch()?;
            let append = self.append(&batch, fence);
            let staged = self.stage(&table, batch.columns.finish()).await?;
            match self.send(&table, &staged.files, &append).await {
                Ok(now) => {
                    self.report.commits += 1;
                    self.report.replayed += batch.letters.len() as u64;
                    return self.adopt(now);
                }
                Err(CommitError::Fenced { .. }) => {
                    let now = self.sink.load(&self.job.into).await?;
                    self.adopt(now.ok_or_else(|| ReplayError::Replaced(self.job.into.clone()))?)?;
                    for letter in batch.letters {
                        match self.mark(&letter.shard)?.replayed.contains(letter.incarnation, letter.place) {
                            true => self.report.already += 1,
                            false => self.decode(letter)?,
                        }
                    }
                }
                Err(CommitError::Replaced | CommitError::Gone) => {
                    return Err(ReplayError::Replaced(self.job.into.clone()));
                }
                Err(error @ (CommitError::Unknown(_) | CommitError::Unavailable(_) | CommitError::Rejected(_))) => {
                    return Err(error.into());
                }
            }
        }
        Err(ReplayError::Contended(self.job.into.clone()))
    }

    /// The open batch, and an empty one in its place.
    fn next_batch(&mut self) -> Result<Batch, ReplayError> {
        let empty = Batch::new(Columns::new(self.target.table.arrow_schema())?);
        Ok(std::mem::replace(&mut self.batch, empty))
    }

    /// The marks of every shard in the batch, from what they were to what they will be.
    fn fence(&mut self) -> Result<Vec<FencedProperty>, ReplayError> {
        let mut fence = Vec::new();
        for shard in self.batch.shards() {
            let mark = self.marks.of(shard, |key| self.target.table.property(key))?;
            let (value, ranges) = (mark.replayed.to_string(), mark.replayed.ranges());
            if value.len() > MARKS_MAX_BYTES {
                return Err(ReplayError::MarksTooLong { shard: shard.clone(), bytes: value.len(), ranges });
            }
            let expected = mark.text.clone();
            fence.push(FencedProperty { key: self.marks.key(shard), expected, value });
        }
        Ok(fence)
    }

    fn append(&self, batch: &Batch, fence: Vec<FencedProperty>) -> Append {
        let about = [(REPLAY, self.job.from.to_string()), (REPLAY_LETTERS, batch.letters.len().to_string())];
        let summary: BTreeMap<_, _> = about.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Append { commit_id: batch.commit_id, fence, summary }
    }

    /// Goes on with a newer version of the target; its marks and its columns rule.
    fn adopt(&mut self, table: Si::Table) -> Result<(), ReplayError> {
        if table.uuid() != self.target.table.uuid() {
            return Err(ReplayError::Replaced(self.job.into.clone()));
        }
        self.target.table = table;
        self.target.plans.clear();
        self.marks.forget();
        self.next_batch().map(drop)
    }

    async fn stage(&self, table: &Si::Table, rows: RecordBatch) -> Result<Staged<Si::Files>, ReplayError> {
        let mut attempt = 0;
        loop {
            let prefix = format!("replay-{}", Uuid::now_v7());
            match self.sink.stage(table, rows.clone(), &prefix).await {
                Err(SinkError::Unavailable(cause)) if attempt + 1 < ATTEMPTS_MAX => {
                    tracing::warn!("files cannot be stored, trying again: {cause}");
                }
                staged => return Ok(staged?),
            }
            pause(&mut attempt).await;
        }
    }

    /// Always the very same append: it is committed at most once, and an open outcome is resolved by asking again.
    async fn send(&self, table: &Si::Table, files: &Si::Files, append: &Append) -> Result<Si::Table, CommitError> {
        let mut attempt = 0;
        loop {
            match self.sink.commit(table, Some(files), append).await {
                Err(error @ (CommitError::Unknown(_) | CommitError::Unavailable(_))) if attempt + 1 < ATTEMPTS_MAX => {
                    tracing::warn!("{error}; trying again");
                }
                done => return done.map(|(_, now)| now),
            }
            pause(&mut attempt).await;
        }
    }
}

async fn pause(attempt: &mut u32) {
    tokio::time::sleep(PAUSE * 2_u32.pow(*attempt)).await;
    *attempt += 1;
}
