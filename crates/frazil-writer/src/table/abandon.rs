//! Why a table's task gives up what it holds. The pipeline of the stream starts over then.

use frazil_core::{Shard, TableName};

/// Why the stream's pipeline must start over from the low watermark. What was not committed is read again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Abandon {
    /// Somebody else commits the same shards.
    #[error(transparent)]
    Fenced(Box<FencedBy>),
    /// Another table has the name now, or it was dropped, or it came to be.
    #[error("table {table} {what}")]
    Replaced { table: TableName, what: &'static str },
    /// The log has lost what the table contains, and gives the same sequences again.
    #[error("table {table} contains what shard {shard} has lost: the log went back")]
    Rewound { table: TableName, shard: Shard },
    /// The shard was deleted and created again, and the table has events of the later one.
    #[error("table {table} has events of a later shard {shard}")]
    Outlived { table: TableName, shard: Shard },
}

/// Whose commit came first.
#[derive(Debug, thiserror::Error)]
#[error("table {table}: fenced by {holder}: {key} is {found:?}, expected {expected:?}")]
pub(crate) struct FencedBy {
    pub(super) table: TableName,
    /// Who wrote the newest commit, as far as the table says.
    pub(super) holder: String,
    pub(super) key: String,
    pub(super) expected: Option<String>,
    pub(super) found: Option<String>,
}

impl Abandon {
    /// Label for the restart metric.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::Fenced(_) => "fenced",
            Self::Replaced { .. } => "table_replaced",
            Self::Outlived { .. } => "shard",
            Self::Rewound { .. } => "log_rewound",
        }
    }
}
