//! When an open batch is committed, and why. Pure: the caller says what the batch holds and how old it is.

use std::fmt;
use std::time::Duration;

/// Hard limit of the column bytes of a batch, so that 32-bit offsets cannot overflow.
pub const BATCH_MAX_BYTES: usize = 1 << 30;

/// Dead letters at which a batch is committed: their positions are listed in a property of the table, which every
/// later version of its metadata carries.
pub const BATCH_LETTERS_MAX: usize = 10_000;

/// When an open batch is full or due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushPolicy {
    /// Longest time between the first event of a batch and the start of its commit.
    pub max_age: Duration,
    /// Rows (and dead letters) at which a batch is committed.
    pub max_rows: usize,
    /// Bytes of column data at which a batch is committed; at most [`BATCH_MAX_BYTES`].
    pub max_bytes: usize,
}

impl Default for FlushPolicy {
    /// Five seconds, 500,000 rows, 64 MiB.
    fn default() -> Self {
        Self { max_age: Duration::from_secs(5), max_rows: 500_000, max_bytes: 64 << 20 }
    }
}

/// Why a batch was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommitTrigger {
    /// Its oldest event has waited long enough.
    Age,
    /// It has enough rows.
    Rows,
    /// It has enough bytes.
    Bytes,
    /// The writer is short of memory, and this table holds most of it.
    Memory,
    /// The table's schema changed; the batch is of the old one.
    SchemaChange,
    /// The writer is stopping.
    Drain,
}

impl CommitTrigger {
    /// Name for logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Rows => "rows",
            Self::Bytes => "bytes",
            Self::Memory => "memory",
            Self::SchemaChange => "schema_change",
            Self::Drain => "drain",
        }
    }
}

impl fmt::Display for CommitTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the policy looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchState {
    /// Rows and dead letters.
    pub rows: usize,
    /// The dead letters among them.
    pub letters: usize,
    /// Bytes of column data.
    pub bytes: usize,
    /// Time since the first event came in.
    pub age: Duration,
}

impl FlushPolicy {
    /// The same for the first batch of a table after a start or a pause, whose events have waited already: a tenth of the
    /// age. There is one such batch, so it costs no commits to speak of.
    pub fn of_first_batch(self) -> Self {
        Self { max_age: self.max_age / 10, ..self }
    }

    /// Whether the batch must take no more events before it is committed.
    pub fn full(&self, state: BatchState) -> Option<CommitTrigger> {
        if state.rows >= self.max_rows || state.letters >= BATCH_LETTERS_MAX {
            Some(CommitTrigger::Rows)
        } else if state.bytes >= self.max_bytes.min(BATCH_MAX_BYTES) {
            Some(CommitTrigger::Bytes)
        } else {
            None
        }
    }

    /// Whether the batch should be committed now.
    pub fn due(&self, state: BatchState) -> Option<CommitTrigger> {
        self.full(state).or((state.age >= self.max_age).then_some(CommitTrigger::Age))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state(rows: usize, bytes: usize, millis: u64) -> BatchState {
        BatchState { rows, letters: 0, bytes, age: Duration::from_millis(millis) }
    }

    #[test]
    fn each_bound_has_its_trigger() {
        let policy = FlushPolicy { max_age: Duration::from_secs(1), max_rows: 10, max_bytes: 100 };
        assert_eq!(policy.due(state(9, 99, 999)), None);
        assert_eq!(policy.due(state(10, 0, 0)), Some(CommitTrigger::Rows));
        assert_eq!(policy.due(state(0, 100, 0)), Some(CommitTrigger::Bytes));
        assert_eq!(policy.due(state(0, 0, 1000)), Some(CommitTrigger::Age));
        let letters = BatchState { letters: BATCH_LETTERS_MAX, ..state(1, 0, 0) };
        assert_eq!(policy.due(letters), Some(CommitTrigger::Rows));
        assert_eq!(policy.full(state(0, 0, 1000)), None, "an old batch may still be filled during a commit");
    }

    proptest! {
        /// 1. What is full is due. 2. More rows, bytes or age never make a due batch not due. 3. The hard limit holds.
        #[test]
        fn monotone(rows in 0usize..30, bytes in 0usize..300, age in 0u64..3000, more in 0usize..10) {
            let policy = FlushPolicy { max_age: Duration::from_secs(1), max_rows: 10, max_bytes: 100 };
            let now = state(rows, bytes, age);
            prop_assert!(policy.full(now).is_none() || policy.due(now).is_some());
            if policy.due(now).is_some() {
                prop_assert!(policy.due(state(rows + more, bytes + more, age + more as u64)).is_some());
            }
            let lax = FlushPolicy { max_bytes: usize::MAX, ..policy };
            prop_assert!(lax.full(state(0, BATCH_MAX_BYTES, 0)).is_some());
        }
    }
}
