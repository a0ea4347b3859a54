//! The life of a batch: open, then sealed; each step consumes the one before. What follows (staged, committed)
//! happens in `table::flush`, which turns the sealed batch into a [`Committed`](crate::sink::Committed).

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use frazil_core::Shard;
use frazil_core::checkpoint::{Checkpoint, CheckpointDelta, Sequence};
use tokio::time::Instant;
use uuid::Uuid;

use crate::budget::Permit;
use crate::columns::Columns;
use crate::dead_letter::DeadLetter;
use crate::flush::{BatchState, CommitTrigger};

/// A batch that takes events.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    /// Id of the commit that the rows will be written by; they carry it.
    pub(crate) commit_id: Uuid,
    /// The rows; `None` while the table does not exist, when every event is a letter.
    pub(crate) columns: Option<Columns>,
    /// Events that cannot become rows.
    letters: Vec<DeadLetter>,
    letter_bytes: usize,
    /// How far each shard's messages are in the batch.
    ends: BTreeMap<u32, End>,
    opened: Option<Instant>,
    permit: Permit,
}

#[derive(Debug, Clone)]
struct End {
    shard: Shard,
    /// The last message.
    checkpoint: Checkpoint,
}

/// How much a batch held at some time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    rows: usize,
    letters: usize,
}

/// A batch that takes no more events.
#[derive(Debug)]
pub(crate) struct SealedBatch {
    /// Id of its commit.
    pub(crate) commit_id: Uuid,
    /// Why it is committed.
    pub(crate) trigger: CommitTrigger,
    /// The rows, unless there are none.
    pub(crate) rows: Option<RecordBatch>,
    /// Events that cannot become rows.
    pub(crate) letters: Vec<DeadLetter>,
    /// What of each shard it holds.
    pub(crate) deltas: Vec<ShardDelta>,
    /// Memory, held until the commit.
    pub(crate) permit: Permit,
}

/// What a batch holds of one shard.
#[derive(Debug, Clone)]
pub(crate) struct ShardDelta {
    /// The shard.
    pub(crate) shard: Shard,
    /// Every event of the table in `(start, end]`. Empty if the table contains all of it but letters.
    pub(crate) delta: CheckpointDelta,
    /// When the log stored the last message, in nanoseconds since the Unix epoch.
    pub(crate) end_at: Option<i64>,
}

impl ShardDelta {
    /// Whether the batch only recovers letters of the shard, which the table's checkpoint covers already.
    pub(crate) fn is_recovery(&self) -> bool {
        self.delta.is_empty()
    }
}

impl OpenBatch {
    /// An empty batch.
    pub(crate) fn new(columns: Option<Columns>) -> Self {
        Self {
            commit_id: Uuid::now_v7(),
            columns,
            letters: Vec::new(),
            letter_bytes: 0,
            ends: BTreeMap::new(),
            opened: None,
            permit: Permit::default(),
        }
    }

    /// Whether no message is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.opened.is_none()
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> usize {
        self.columns.as_ref().map_or(0, Columns::len)
    }

    /// Bytes of budget it holds.
    pub(crate) fn held_bytes(&self) -> usize {
        self.permit.bytes()
    }

    /// What the flush policy looks at.
    pub(crate) fn state(&self, now: Instant) -> BatchState {
        BatchState {
            rows: self.rows() + self.letters.len(),
            letters: self.letters.len(),
            bytes: self.columns.as_ref().map_or(0, Columns::bytes) + self.letter_bytes,
            age: self.opened.map_or(std::time::Duration::ZERO, |opened| now.duration_since(opened)),
        }
    }

    /// When the first message came in.
    pub(crate) fn opened(&self) -> Option<Instant> {
        self.opened
    }

    /// A whole message of a shard, `end`, all its events for this table, is in the batch now.
    pub(crate) fn extend_to(&mut self, shard: &Shard, end: Checkpoint, permit: Permit, now: Instant) {
        self.opened.get_or_insert(now);
        self.permit.merge(permit);
        // It was taken for the worst; now it is known what the events have become.
        self.permit.shrink_to(self.allocated());
        let end = End { shard: shard.clone(), checkpoint: end };
        self.ends.insert(shard.index, end);
    }

    /// Bytes of memory it takes, about.
    pub(crate) fn allocated(&self) -> usize {
        self.columns.as_ref().map_or(0, Columns::allocated) + self.letter_bytes
    }

    /// An event that cannot become a row is in the batch now.
    pub(crate) fn push_letter(&mut self, letter: DeadLetter) {
        self.letter_bytes += letter.bytes();
        self.letters.push(letter);
    }

    /// Its present state, to come back to.
    pub(crate) fn mark(&self) -> Mark {
        Mark { rows: self.rows(), letters: self.letters.len() }
    }

    /// Takes rows and letters back to an earlier state.
    pub(crate) fn rewind(&mut self, mark: Mark) {
        if let Some(columns) = &mut self.columns {
            columns.truncate(mark.rows);
        }
        let undone = self.letters.drain(mark.letters..);
        self.letter_bytes -= undone.map(|letter| letter.bytes()).sum::<usize>();
    }

    /// Closes the batch. `start` is the table's checkpoint of a shard; what ends before it is a recovery of letters.
    pub(crate) fn seal(self, trigger: CommitTrigger, start: impl Fn(u32) -> Sequence) -> SealedBatch {
        let deltas = self.ends.into_iter().map(|(index, end)| {
            let End { shard, checkpoint: Checkpoint { incarnation, sequence, at } } = end;
            let delta = CheckpointDelta { incarnation, start: start(index).min(sequence), end: sequence };
            ShardDelta { shard, delta, end_at: at }
        });
        SealedBatch {
            commit_id: self.commit_id,
            trigger,
            deltas: deltas.collect(),
            rows: self.columns.filter(|columns| !columns.is_empty()).map(Columns::finish),
            letters: self.letters,
            permit: self.permit,
        }
    }
}
