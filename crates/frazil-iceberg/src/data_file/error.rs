//! Why files could not be staged, and whether trying again can help. Knows nothing of commits: a staging error never
//! leaves a question open, because nothing that was staged counts before a commit.

use arrow_schema::ArrowError;
use parquet::errors::ParquetError;

use crate::storage::StorageError;

/// Failure of [`stage`](super::stage). No row of the batch is in the table, whatever the variant.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The batches are not of the table's current schema.
    #[error("batch does not fit the table's schema: {reason}")]
    Schema {
        /// What differs.
        reason: String,
    },
    /// A table property has a value that cannot be honoured.
    #[error("table property {key} = {value:?}: expected {expected}")]
    Property {
        /// The property.
        key: String,
        /// Its value in the table.
        value: String,
        /// What would be valid.
        expected: &'static str,
    },
    /// The table's schema, partition spec or sort order asks for something that is not supported.
    #[error("{what}: {source}")]
    Spec {
        /// What was being done.
        what: String,
        /// The spec layer's own error.
        source: Box<iceberg::Error>,
    },
    /// The table's partition spec has a transform that cannot be computed.
    #[error("cannot apply transform {transform} to {data_type}")]
    Transform {
        /// The transform as the table names it.
        transform: String,
        /// The Arrow type of the source column.
        data_type: String,
    },
    /// Rows could not be selected or sorted.
    #[error("arrow: {0}")]
    Arrow(#[from] ArrowError),
    /// Rows could not be encoded.
    #[error("parquet: {0}")]
    Parquet(#[from] ParquetError),
    /// A file could not be stored.
    #[error("storing {location}: {source}")]
    Storage {
        /// The file.
        location: String,
        /// The store's own error.
        source: StorageError,
    },
    /// A blocking task panicked or the runtime is shutting down.
    #[error("staging task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// A defect of this crate.
    #[error("internal: {reason}")]
    Internal {
        /// What was violated.
        reason: String,
    },
}

impl StageError {
    /// Whether staging the same rows may succeed later without anyone changing the rows or the table.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Storage { source, .. } => source.is_retryable(),
            Self::Task(_) => true,
            Self::Schema { .. }
            | Self::Property { .. }
            | Self::Spec { .. }
            | Self::Transform { .. }
            | Self::Arrow(_)
            | Self::Parquet(_)
            | Self::Internal { .. } => false,
        }
    }

    pub(super) fn spec(what: impl Into<String>, source: iceberg::Error) -> Self {
        Self::Spec { what: what.into(), source: Box::new(source) }
    }
}
