//! Dead letters become rows after all, each once, whoever replays them and however often.
//!
//! ```text
//!  <table>__dead_letter ── scan 1: identities ──► Letters (where each letter lies)
//!                       ── scan 2: payloads ────► push: settled? not marked? fits now? ──► batch
//!                                                                                           │
//!                           table ◄── one fenced append: rows + marks of every shard in it ─┘
//! ```
//!
//! The target says which letters it contains: a property for each shard, moved in the same commit as the rows and only
//! from the value the batch was made with ([`frazil_core::replay`]). So a crash at any point leaves a letter replayed
//! and marked, or neither; of two replays at once the slower is fenced, reads the marks again and goes on with what
//! is left. A letter that still does not fit stays where it is, unmarked.
//!
//! Nothing here reads a table: the caller scans, and pushes what it read. Memory is bounded by the batch and 16 bytes a
//! letter.

mod batch;
mod commit;
mod letter;
mod report;
mod standing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use frazil_core::mapping::{Plan, PlanError};
use frazil_core::policy::{PolicyError, TablePolicy};
use frazil_core::replay::{Letters, MARKS_MAX_BYTES};
use frazil_core::{Shard, StreamName, TableName};
use uuid::Uuid;

use crate::columns::{Columns, UnsupportedColumn};
use crate::sink::{CommitError, SinkError, SinkTable, TableSink};
use batch::{Batch, Kept};
pub use letter::{COUNT_COLUMNS, INDEX_COLUMNS, LETTER_COLUMNS, LetterColumnError, LetterRow, LetterRows};
pub use report::{Example, Invalid, Report};
pub use standing::{Mark, Marks, Settled, StandingError, State};

/// Reasons whose payload is no event but base64 of what could not be read.
const UNREADABLE: [&str; 4] = ["checksum", "unknown_version", "malformed_envelope", "invalid_utf8"];

/// The reason of events for which no table was found.
const UNROUTABLE: &str = "unroutable";

/// What to replay, and how.
#[derive(Debug, Clone)]
pub struct Job {
    /// The table that gets the rows.
    pub into: TableName,
    /// The dead-letter table.
    pub from: TableName,
    /// The uuid of the dead-letter table if it is not that of `into`.
    pub foreign: Option<Uuid>,
    /// Only letters of this stream.
    pub stream: Option<StreamName>,
    /// Only letters that were put away for this reason.
    pub reason: Option<String>,
    /// Finds out what would happen and commits nothing.
    pub dry_run: bool,
    /// When a batch is committed.
    pub limits: Limits,
    /// The policies of the streams; others have the default one. The target's properties win.
    pub policies: BTreeMap<StreamName, TablePolicy>,
}

/// When a batch is committed: at whichever is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rows.
    pub rows: usize,
    /// Bytes of payloads and fixed columns.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rows: 100_000, bytes: 64 << 20 }
    }
}

/// What is known of the dead-letter table.
#[derive(Debug, Clone, Default)]
pub struct LetterTable {
    /// Where all letters lie that the job may be about.
    pub letters: Letters,
    /// The properties of the version of the table that is read.
    pub properties: BTreeMap<String, String>,
}

/// Why a replay cannot go on. What is committed by then is replayed and marked; a new replay continues there.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The dead-letter table lacks what is needed.
    #[error(transparent)]
    Letters(#[from] LetterColumnError),
    /// A property cannot be read.
    #[error(transparent)]
    Standing(#[from] StandingError),
    /// There is no table to replay into.
    #[error("table {0} does not exist; create it, or name another one to replay into")]
    NoTable(TableName),
    /// The table was dropped or replaced meanwhile.
    #[error("table {0} was dropped or replaced while letters were replayed into it")]
    Replaced(TableName),
    /// No event can be mapped to the table.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A property of the table asks for something unknown.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A column that cannot be written.
    #[error(transparent)]
    Column(#[from] UnsupportedColumn),
    /// The marks would outgrow their property.
    #[error(
        "the marks of shard {shard} would take {bytes} bytes in {ranges} ranges, at most {MARKS_MAX_BYTES} bytes are \
         allowed: too many letters that still do not fit lie between those that do. Make them fit, or delete them from \
         the dead-letter table, and replay again"
    )]
    MarksTooLong {
        /// The shard.
        shard: Shard,
        /// Length of the property.
        bytes: usize,
        /// Ranges in it.
        ranges: usize,
    },
    /// Other replays came first, again and again.
    #[error("other replays into {0} came first too often")]
    Contended(TableName),
    /// The table cannot be loaded or written to.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The last batch is not known to be committed. A new replay finds out.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// A replay that is under way.
#[derive(Debug)]
pub struct Replay<Si: TableSink> {
    sink: Si,
    job: Job,
    source: LetterTable,
    settled: Settled,
    target: Target<Si::Table>,
    /// Of the target as it was loaded, with the open batch added.
    marks: Marks,
    batch: Batch,
    report: Report,
}

/// The table that gets the rows, and how events become its rows.
#[derive(Debug)]
struct Target<T> {
    table: T,
    plans: BTreeMap<StreamName, Arc<Plan>>,
}

impl<Si: TableSink> Replay<Si> {
    /// Loads the target.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub async fn open(sink: Si, job: Job, source: LetterTable) -> Result<Self, ReplayError> {
        let table = sink.load(&job.into).await?.ok_or_else(|| ReplayError::NoTable(job.into.clone()))?;
        let batch = Batch::new(Columns::new(table.arrow_schema())?);
        let marks = Marks::new(job.foreign);
        let target = Target { table, plans: BTreeMap::new() };
        let report = Report::default();
        Ok(Self { sink, job, source, settled: Settled::default(), target, marks, batch, report })
    }

    /// What happened so far. Letters of the open batch are not replayed yet.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Takes rows of the dead-letter table, of [`LETTER_COLUMNS`], and commits whenever a batch is full.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub async fn push(&mut self, rows: &RecordBatch) -> Result<(), ReplayError> {
        for letter in LetterRows::new(rows)?.iter() {
            let Some(letter) = letter else {
                self.report.unidentified += 1;
                continue;
            };
            if self.is_wanted(&letter)? {
                self.take(&letter)?;
            }
            if self.batch.is_full(&self.job.limits) {
                self.commit().await?;
            }
        }
        Ok(())
    }

    /// Commits what is left.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub async fn finish(&mut self) -> Result<&Report, ReplayError> {
        self.commit().await?;
        Ok(&self.report)
    }

    /// Whether it is a letter that the job is about and that the target does not contain.
    fn is_wanted(&mut self, letter: &LetterRow<'_>) -> Result<bool, ReplayError> {
        let of_stream = self.job.stream.as_ref().is_none_or(|stream| *stream == letter.shard.stream);
        let of_reason = self.job.reason.as_deref().is_none_or(|reason| letter.reason == Some(reason));
        if !of_stream || !of_reason {
            return Ok(false);
        }
        self.report.looked_at += 1;
        let property = |key: &str| self.source.properties.get(key).map(String::as_str);
        if !self.settled.covers(&letter.shard, letter.incarnation, letter.place, property)? {
            self.report.unsettled += 1;
            return Ok(false);
        }
        let marked = self.mark(&letter.shard)?.replayed.contains(letter.incarnation, letter.place);
        self.report.already += u64::from(marked);
        Ok(!marked)
    }

    fn mark(&mut self, shard: &Shard) -> Result<&mut Mark, ReplayError> {
        let property = |key: &str| self.target.table.property(key);
        Ok(self.marks.of_compact(shard, &self.source.letters, property)?)
    }

    /// Into the batch, or among the invalid ones.
    fn take(&mut self, letter: &LetterRow<'_>) -> Result<(), ReplayError> {
        let own = self.job.foreign.is_none();
        match Kept::of(letter, own) {
            Ok(kept) => self.decode(kept),
            Err((code, message)) => {
                self.report.invalid(code, letter.id, "", message.to_owned());
                Ok(())
            }
        }
    }

    fn decode(&mut self, letter: Kept) -> Result<(), ReplayError> {
        let plan = self.plan(&letter.shard.stream)?;
        match self.batch.decode(&plan, &letter) {
            Ok(()) => {
                let Self { source, target, marks, .. } = self;
                let mark = marks.of_compact(&letter.shard, &source.letters, |key| target.table.property(key))?;
                let places = source.letters.of(&letter.shard, letter.incarnation);
                mark.replayed.mark(letter.incarnation, letter.place, places);
                self.batch.keep(letter, plan.fixed_width());
            }
            Err(error) => self.report.invalid(error.reason.code(), &letter.id, &error.field, error.to_string()),
        }
        Ok(())
    }

    fn plan(&mut self, stream: &StreamName) -> Result<Arc<Plan>, ReplayError> {
        if let Some(plan) = self.target.plans.get(stream) {
            return Ok(plan.clone());
        }
        let table = &self.target.table;
        let policy = self.job.policies.get(stream).copied().unwrap_or_default();
        let policy = policy.with_properties(|key| table.property(key))?;
        let plan = Arc::new(policy.writing_plan(table.schema())?);
        self.target.plans.insert(stream.clone(), plan.clone());
        Ok(plan)
    }
}
