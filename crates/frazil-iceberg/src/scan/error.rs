//! Why a table cannot be read, and whether trying again can help.

use arrow_schema::ArrowError;
use parquet::errors::ParquetError;

use crate::storage::StorageError;

/// Failure of a scan. Nothing was changed, whatever the variant.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A file could not be read from the store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The table has something that cannot be read here.
    #[error("cannot read {location}: {what} is not supported")]
    Unsupported {
        /// The file.
        location: String,
        /// What it has.
        what: String,
    },
    /// A file does not hold what the table's metadata says.
    #[error("{location}: {reason}")]
    Invalid {
        /// The file.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The table's metadata or a manifest cannot be understood.
    #[error("{what}: {source}")]
    Spec {
        /// What was being read.
        what: String,
        /// The spec layer's own error.
        source: Box<iceberg::Error>,
    },
    /// Rows could not be put together.
    #[error("arrow: {0}")]
    Arrow(#[from] ArrowError),
}

impl ScanError {
    /// Whether a new scan may succeed without anyone changing the table.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Storage(source) => source.is_retryable(),
            Self::Spec { source, .. } => source.retryable(),
            Self::Unsupported { .. } | Self::Invalid { .. } | Self::Arrow(_) => false,
        }
    }

    pub(super) fn spec(what: impl Into<String>, source: iceberg::Error) -> Self {
        Self::Spec { what: what.into(), source: Box::new(source) }
    }

    /// Takes the storage's own error back out of the Parquet reader's.
    pub(super) fn parquet(location: &str, error: ParquetError) -> Self {
        match error {
            ParquetError::External(source) => match source.downcast::<StorageError>() {
                Ok(source) => Self::Storage(*source),
                Err(source) => Self::Invalid { location: location.to_owned(), reason: source.to_string() },
            },
            other => Self::Invalid { location: location.to_owned(), reason: other.to_string() },
        }
    }
}
